"""Where files go that peers send (WRQ), when that is allowed at all.

The folder is never one that files are signed from: whoever could upload X and fetch X.sgn would
have our signature on it.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from tftp.content import ErrorReply
from tftp.netascii import FromNetascii
from tftp.options import Terms
from tftp.packets import ErrorCode
from tftp.receiver import Receiver
from tftp.root import split

MAX_AT_ONCE = 16
_PREFIX = ".upload-"  # of a file that is not whole yet


class Upload:
    """A file on its way: written under a temporary name, given its own at the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._descriptor, self._temporary = tempfile.mkstemp(prefix=_PREFIX, dir=folder)

    def write(self, octets: bytes) -> None:
        """Take the next octets. Raises OSError."""
        while octets:  # a disk that is full takes a part first
            octets = octets[os.write(self._descriptor, octets) :]

    def commit(self) -> None:
        """Get the real name. Raises FileExistsError rather than overwrite.

        Without fsync: all phones would wait for the disk.
        """
        os.link(self._temporary, self._folder / self._name)
        self.abort()

    def abort(self) -> None:
        """Remove the temporary name; safe to call again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(FileNotFoundError):
                Path(self._temporary).unlink()


class Uploads:
    """One folder for uploads; ``max_bytes`` bounds each file in octets.

    What a service that was killed left unfinished is removed. Raises OSError.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        for unfinished in folder.glob(f"{_PREFIX}*"):
            unfinished.unlink(missing_ok=True)

    def open(self, name: str, announced: int) -> Upload | ErrorReply:
        """Begin an upload of a plain name (no folders); or the error to answer.

        ``announced`` is its size in octets, 0 if that is not known.
        """
        parts = split(name)
        if parts is None or len(parts) != 1 or parts[0].startswith("."):
            return ErrorReply(ErrorCode.ACCESS_VIOLATION, "uploads take plain names only")
        try:
            # a name may be longer in UTF-8 than it was on the wire, too long for the file system
            if (self.folder / parts[0]).exists():
                return ErrorReply(ErrorCode.FILE_EXISTS, "nothing is overwritten")
            if announced > self.max_bytes:
                text = f"at most {self.max_bytes} octets are accepted"
                return ErrorReply(ErrorCode.DISK_FULL, text)
            return Upload(self.folder, parts[0])
        except OSError as error:
            return ErrorReply(ErrorCode.DISK_FULL, f"cannot be stored: {error.strerror}")

    def receiver(self, upload: Upload, terms: Terms, *, text: bool) -> Receiver:
        """What takes ``upload`` over the wire; ``text`` comes in netascii."""
        if not text:
            complete, deliver = upload.commit, upload.write
            return Receiver(deliver, max_bytes=self.max_bytes, complete=complete, terms=terms)
        decoder = FromNetascii(upload.write)

        def finish() -> None:
            decoder.finish()
            upload.commit()

        return Receiver(decoder, max_bytes=self.max_bytes, complete=finish, terms=terms)
