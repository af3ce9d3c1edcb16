"""`trustlab sgn sign`, `strip`, `encrypt` and `decrypt`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeAlias

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cyclopts import Parameter

from conf.identity import read_signer
from itl import ItlError
from itl.encryption import ENCRYPTED_SUFFIX, decrypt_file, encrypt_file, pointer_file
from itl.signedfile import SIGNED_SUFFIX, SignedFile, sign_file
from itl.trustlist import TrustList
from lab.cli import terminal
from lab.cli.documents import (
    UnreadableError,
    check_place,
    load_document,
    read_certificate,
    read_document,
    shown_path,
    write_file,
)
from lab.endpoint import UsageError

PRIVATE_FILE = 0o600  # a configuration may hold passwords
PUBLIC_FILE = 0o644

Output: TypeAlias = Annotated[Path | None, Parameter(name=["--output", "-o"])]


def sign(
    file: Path,
    *,
    signer: Path,
    signer_key: Path,
    name: str | None = None,
    digest: str = "sha1",
    output: Output = None,
) -> int:
    """Put a signed header before a file, as phones download it.

    Parameters
    ----------
    file:
        The file; one that is signed already, by its bytes, is refused.
    signer:
        The signer's certificate: the CallManager of the TFTP server.
    signer_key:
        Its private key.
    name:
        The name in the header, FILE.sgn unless given: exactly the name phones ask for, with folder.
    digest:
        sha1 or sha512.
    output:
        The file to write, FILE.sgn unless given.
    """
    target = output or _beside(file, file.name + SIGNED_SUFFIX)
    signed = sign_file(
        read_document(file),
        name=name or file.name + SIGNED_SUFFIX,
        signer=read_signer(signer, signer_key),
        timestamp=int(datetime.now(UTC).timestamp()),
        digest=digest,
    )
    return _write(target, signed, PUBLIC_FILE)


def strip(file: Path, *, output: Output = None) -> int:
    """Write what follows a signed file's header; its signature is not looked at.

    Parameters
    ----------
    file:
        The signed file.
    output:
        The file to write, FILE without .sgn unless given.
    """
    target = output or _without(file, SIGNED_SUFFIX)
    return _write(target, _signed_file(file).payload, PUBLIC_FILE)


def encrypt(
    file: Path,
    *,
    phone_cert: Path,
    signer: Path,
    signer_key: Path,
    digest: str = "sha1",
) -> int:
    """Encrypt a configuration for one phone: FILE.enc.sgn, and FILE.sgn that points to it.

    Parameters
    ----------
    file:
        The configuration, SEP<MAC>.cnf.xml.
    phone_cert:
        The phone's certificate, RSA.
    signer:
        The signer's certificate: the CallManager of the TFTP server.
    signer_key:
        Its private key.
    digest:
        sha1 or sha512.
    """
    plain, phone = read_document(file), read_certificate(phone_cert)
    signing = read_signer(signer, signer_key)
    timestamp = int(datetime.now(UTC).timestamp())
    encrypted_file = file.with_name(file.name + ENCRYPTED_SUFFIX)
    pointing_file = file.with_name(file.name + SIGNED_SUFFIX)
    encrypted = encrypt_file(
        plain,
        name=encrypted_file.name,
        phone_certificate=phone,
        signer=signing,
        timestamp=timestamp,
        digest=digest,
    )
    pointer = sign_file(
        pointer_file(plain, phone),
        name=pointing_file.name,
        signer=signing,
        timestamp=timestamp,
        digest=digest,
    )
    check_place(pointing_file)  # neither is written without the other
    _write(encrypted_file, encrypted, PUBLIC_FILE)
    return _write(pointing_file, pointer, PUBLIC_FILE)


def decrypt(file: Path, *, phone_key: Path, output: Output = None) -> int:
    """Decrypt a configuration; where that fails nothing is written.

    Parameters
    ----------
    file:
        The encrypted configuration, SEP<MAC>.cnf.xml.enc.sgn.
    phone_key:
        The phone's private key (PEM), RSA.
    output:
        The file to write, FILE without .enc.sgn unless given.
    """
    target = output or _without(file, ENCRYPTED_SUFFIX)
    document = _signed_file(file)
    try:
        plain = decrypt_file(document, _phone_key(phone_key))
    except ItlError as error:
        raise UnreadableError(f"{shown_path(file)}: {error}") from None
    return _write(target, plain, PRIVATE_FILE)


def _signed_file(path: Path) -> SignedFile:
    document = load_document(path, "sgn")
    if isinstance(document, TrustList):
        raise UsageError(f"{shown_path(path)}: a trust list, which is nothing without its header")
    return document


def _phone_key(path: Path) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(read_document(path), password=None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{shown_path(path)}: no private key in PEM form: {error}") from None
    if not isinstance(key, RSAPrivateKey):
        raise UsageError(
            f"{shown_path(path)}: not an RSA key; how configurations are encrypted for phones with"
            " EC certificates is not known"
        )
    return key


def _beside(file: Path, name: str) -> Path:
    """The file of this name in the folder of ``file``."""
    try:
        return file.with_name(name)
    except ValueError:
        raise UsageError(f"{shown_path(file)}: not the name of a file to begin with") from None


def _without(file: Path, suffix: str) -> Path:
    """Where the plain file goes; an existing one is overwritten only by name."""
    target = _beside(file, file.name.removesuffix(suffix))
    if target == file:
        raise UsageError(f"{shown_path(file)} does not end in {suffix}: name the file with -o")
    if target.exists():
        raise UsageError(f"{shown_path(target)} exists: -o {shown_path(target)} overwrites it")
    return target


def _write(path: Path, data: bytes, mode: int) -> int:
    write_file(path, data, mode)
    terminal.say(f"{shown_path(path)}: {len(data)} bytes")
    return 0
