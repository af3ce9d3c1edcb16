"""Files that want to hurt their reader cost a child process and nothing else."""

import io
import os
import subprocess
import time
import zipfile

import pytest

from tests.bundles.samples import to_pem
from tvs.bundles import read_directory
from tvs.exchange import Folder
from tvs.foreign import MAX_FILE_BYTES, ForeignReader

MAC_DATA_BYTES = 66  # SHA-256 DigestInfo 51, salt 10, count 5: the end of openssl's PKCS12


@pytest.fixture(scope="module")
def bundle(make_certificate) -> bytes:
    done = subprocess.run(
        ["openssl", "pkcs12", "-export", "-nokeys", "-passout", "pass:x", "-iter", "70000"],
        input=to_pem(make_certificate("host")),
        capture_output=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def bomb(bundle) -> bytes:
    """The bundle with a MAC that asks for two billion rounds."""
    assert bundle[-MAC_DATA_BYTES - 2 : -MAC_DATA_BYTES] == bytes([0x30, MAC_DATA_BYTES])
    assert bundle[-5:] == b"\x02\x03" + (70_000).to_bytes(3)
    mac = bundle[-MAC_DATA_BYTES:-5] + b"\x02\x04" + (0x7FFFFFFF).to_bytes(4)
    content = bundle[4 : -MAC_DATA_BYTES - 2] + bytes([0x30, len(mac)]) + mac
    return b"\x30\x82" + len(content).to_bytes(2) + content


def test_an_iteration_bomb_is_ended_and_the_next_file_is_read(bundle, bomb):
    with ForeignReader(seconds=1) as reader:
        assert reader.read(bundle, ["x"]).problem is None
        began = time.monotonic()
        material = reader.read(bomb, ["x"])
        assert time.monotonic() - began < 5
        assert material.problem == "took more than 1 seconds to open (too many rounds?)"
        assert len(reader.read(bundle, ["x"]).certificates) == 1


def test_a_memory_bomb_is_ended_and_the_next_file_is_read(bundle):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(60 * 1024 * 1024))
    with ForeignReader(memory_bytes=150 * 1024 * 1024) as reader:
        assert reader.read(bundle, ["x"]).problem is None
        problem = reader.read(data.getvalue(), []).problem
        assert problem == "made its reader fail (more memory or time than a bundle may take)"
        assert len(reader.read(bundle, ["x"]).certificates) == 1


def test_the_reader_leaves_no_child_behind(bundle):
    with ForeignReader() as reader:
        reader.read(bundle, ["x"])
        assert reader._child is not None
        pid = reader._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_huge_file_is_not_read_whole(bundle, tmp_path):
    with (tmp_path / "huge.p12").open("wb") as file:
        file.write(bundle)
        file.truncate(20 * 1024**3)
    (tmp_path / "small.p12").write_bytes(bundle)
    with ForeignReader() as reader:
        huge, small = read_directory(Folder(tmp_path), reader, ["x"])
    assert huge.problem == f"more than {MAX_FILE_BYTES} octets; not opened"
    assert len(small.items) == 1
