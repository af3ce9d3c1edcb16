"""The 78xx/88xx firmware container: named for what it is, not read further.

Its head, read off sip88xx.12-0-7MPP0201-66.loads (GitHub GarnetAlliance/Cisco-8861-mpp): magic,
header length, 12 unknown octets, a SHA-256-sized field, the length of the file name with its final
NUL, the name; all little endian. A 256-byte signature follows.
"""

from construct import Bytes, Const, ConstructError, Int32ul, Struct

from itl.errors import FormatError

CONTAINER_MAGIC = bytes.fromhex("cd3412ab")
_CONTAINER = Struct(
    "magic" / Const(CONTAINER_MAGIC),
    "header_length" / Int32ul,
    "unknown" / Bytes(12),
    "digest" / Bytes(32),
    "name_length" / Int32ul,
)


def container_name(data: bytes) -> str:
    """The file name in the head. Raises :class:`~itl.errors.FormatError`."""
    try:
        head = _CONTAINER.parse(data)
    except ConstructError as error:
        raise FormatError("88xx container head", 0, str(error).splitlines()[-1]) from None
    name = data[_CONTAINER.sizeof() :][: head.name_length]
    if len(name) != head.name_length:
        raise FormatError(
            "88xx container name", _CONTAINER.sizeof(), "runs past the end of the file"
        )
    return name.rstrip(b"\0").decode("latin-1")
