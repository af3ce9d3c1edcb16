"""Files and folders of a node: read only where they end, written whole or not at all."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO


def read_regular(path: Path) -> bytes:
    """The octets of the regular file ``path``. Raises OSError as :func:`open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def open_regular(path: Path) -> BinaryIO:
    """The regular file ``path``, to be read.

    A pipe could keep us waiting for ever, and a device may have no end. Raises OSError for those
    too, and for a folder.
    """
    return os.fdopen(_descriptor(path, os.O_RDONLY), "rb")


def _descriptor(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a pipe that nobody reads
            raise
    else:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise OSError(errno.EINVAL, "is no regular file", str(path))


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write ``data`` to ``path``: a reader sees the old octets or the new ones, never a part.

    The octets go to a temporary name in the same folder, reach the disk, and are renamed. ``mode``
    is the permission of the result. What root writes belongs to the folder's owner: a service that
    runs as that user is to read it. Raises OSError with the temporary file removed.
    """
    # a part of the name is enough to tell whose it is: names have 255 octets at most
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            give_to_owner(file.fileno(), path.parent)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk, for one
            error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_or_make(path: Path, flags: int) -> int:
    """A descriptor of ``path``, opened with ``flags``; a file that is not there is made, mode 0600.

    One that root makes belongs to the folder's owner, as with :func:`write_whole`. Raises OSError,
    also for what is no regular file.
    """
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:  # perhaps a link that leads to a file of somebody else's
        return _descriptor(path, flags)
    give_to_owner(descriptor, path.parent)
    return descriptor


def make_folder(path: Path) -> None:
    """Make the folder ``path``, mode 0700, unless it is there; the folder around it has to be.

    One that root makes belongs to the owner of the folder around it, as with :func:`write_whole`.
    Raises OSError.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Let what root has just made in ``folder`` belong to the owner and group of that folder.

    Nothing is done for another user, whose files are its own. Raises OSError.
    """
    if os.geteuid() == 0:
        around = folder.stat()
        os.fchown(descriptor, around.st_uid, around.st_gid)
