"""Files are written whole or not at all."""

import os
import tempfile
from pathlib import Path


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
            if os.geteuid() == 0:
                folder_status = path.parent.stat()
                os.fchown(file.fileno(), folder_status.st_uid, folder_status.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
