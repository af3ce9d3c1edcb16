"""No spelling of a name leaves the root."""

import gc
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftp.content import NOT_FOUND, ChangedError, ErrorReply, OpenFile, whole
from tftp.packets import ErrorCode
from tftp.root import Root


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-private").mkdir()
    (tmp_path / "root-private" / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "New_Zealand").mkdir(parents=True)
    (root / "file").write_bytes(b"in root")
    (root / "New_Zealand" / "g3-tones.xml").write_bytes(b"tones")
    (root / "out").symlink_to("../secret")
    (root / "far").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "inside").symlink_to("New_Zealand/../file")
    (root / "folder").symlink_to("New_Zealand")
    for n in range(12):  # each a link to the one before
        (root / f"deep{n}").symlink_to(f"deep{n - 1}" if n else "file")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "sock"))
    return root


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("file", b"in root"),
        ("/file", b"in root"),
        ("./file", b"in root"),
        ("New_Zealand/g3-tones.xml", b"tones"),
        ("New_Zealand\\g3-tones.xml", b"tones"),
        ("New_Zealand//g3-tones.xml", b"tones"),
        ("inside", b"in root"),
        ("folder/g3-tones.xml", b"tones"),
        ("deep7", b"in root"),
    ],
)
def test_files_of_the_root(tree, name, octets):
    assert whole(Root(tree).open(name)) == octets


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "..\\secret",
        "/../secret",
        "New_Zealand/../../secret",
        "../root-private/secret",
        "-private/secret",
        "out",
        "far",
        "up/secret",
        "up/root/../secret",
        "loop",
        "deep11",
        "fifo",
        "fifo/x",
        "sock",
        "New_Zealand",
        "",
        "/",
        ".",
        "file/",
        "file/x",
        "secret",
        "file\0.txt",
        "/etc/passwd",
        "%2e%2e/secret",
        "x" * 255,
        "\ufffd",
        "\ufffd" * 255,
        "/dev/null",
        "/proc/self/environ",
        "..\\..\\secret",
        ".../secret",
        "~/secret",
        "//127.0.0.1/secret",
        "C:\\secret",
        "file::$DATA",
    ],
)
def test_everything_else_is_refused(tree, name):
    found = Root(tree).open(name)
    if name == "file/":
        assert whole(found) == b"in root"
        return
    assert isinstance(found, ErrorReply)
    assert found.code in {ErrorCode.NOT_FOUND, ErrorCode.ACCESS_VIOLATION}


@given(st.lists(st.sampled_from(["..", ".", "/", "\\", "up", "folder", "root", "secret", "\0"])))
def test_no_mixture_reaches_the_secret(tmp_path_factory, parts):
    base = tmp_path_factory.getbasetemp() / "mixture"
    root = base / "root"
    if not root.exists():
        root.mkdir(parents=True)
        (base / "secret").write_bytes(b"secret")
        (root / "up").symlink_to("..")
        (root / "folder").mkdir()
    for name in ("".join(parts), "/".join(parts)):
        assert not isinstance(Root(root).open(name), OpenFile)


def test_another_case_is_found_only_when_allowed(tree):
    assert isinstance(Root(tree).open("FILE"), ErrorReply)
    assert whole(Root(tree, fold_case=True).open("new_zealand/G3-Tones.XML")) == b"tones"


def test_another_case_of_a_file_that_came_later_or_went(tree):
    root = Root(tree, fold_case=True)
    long_ago = time.time() - 60
    for present in (False, True, False):
        (tree / "later").touch() if present else (tree / "later").unlink(missing_ok=True)
        os.utime(tree, (long_ago, long_ago := long_ago + 1))  # its names are kept from now on
        for _ in range(2):
            assert isinstance(root.open("LATER"), OpenFile) == present
    (tree / "FILE").write_bytes(b"as asked")
    assert whole(root.open("FILE")) == b"as asked"
    assert whole(root.open("fILE")) == b"as asked"  # of two the first in order


def test_what_may_not_be_read_is_refused_and_no_root_is_none(tree, monkeypatch):
    root = Root(tree)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tftp.root.os.open", refused)  # the superuser may read everything
    found = root.open("file")
    assert (found.code, found.text) == (ErrorCode.ACCESS_VIOLATION, "the server may not read it")
    with pytest.raises(PermissionError):
        Root(tree)


def test_a_folder_that_cannot_be_listed_has_no_other_cases(tree, monkeypatch):
    def refused(_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("tftp.root.os.listdir", refused)
    assert Root(tree, fold_case=True).open("FILE").code is ErrorCode.NOT_FOUND


def test_a_file_that_changes_during_a_transfer_is_noticed(tree):
    content = Root(tree).open("file")
    (tree / "file").write_bytes(b"longer than before")
    with pytest.raises(ChangedError):
        content.read(0, 4)


def settle(folder):
    """Make the folder one that has not changed lately."""
    long_ago = time.time() - 60
    os.utime(folder, (long_ago, long_ago))


def test_a_name_the_listing_lacks_is_found_once_it_is_there(tree):
    root = Root(tree)
    settle(tree)
    for _ in range(2):
        assert root.open("later") is NOT_FOUND
    (tree / "later").write_bytes(b"here")
    assert whole(root.open("later")) == b"here"
    (tree / "later").unlink()
    settle(tree)
    assert root.open("later") is NOT_FOUND


def test_a_name_in_the_spelling_of_a_file_system_that_knows_no_case(tree, monkeypatch):
    settle(tree)
    monkeypatch.setattr("tftp.root.os.listdir", lambda _: ["FILE"])
    assert whole(Root(tree).open("file")) == b"in root"


def test_a_folder_listed_while_it_changes_is_not_believed(tree, monkeypatch):
    monkeypatch.setattr("tftp.root.LISTED_NAMES", 1)  # a long listing, believed for long
    root = Root(tree)
    before = tree.stat().st_mtime_ns
    assert root.open("later") is NOT_FOUND
    (tree / "later").write_bytes(b"here")
    os.utime(tree, ns=(before, before))  # within the same tick
    pass_seconds(monkeypatch, 3)
    assert whole(root.open("later")) == b"here"


def test_a_listing_is_believed_for_a_second_whatever_the_clock(tree, monkeypatch):
    settle(tree)
    before = tree.stat().st_mtime_ns
    root = Root(tree)
    assert root.open("later") is NOT_FOUND
    (tree / "later").write_bytes(b"here")
    os.utime(tree, ns=(before, before))  # as on a file system without time stamps of folders
    assert root.open("later") is NOT_FOUND
    pass_seconds(monkeypatch, 1.1, wall=-30)
    assert whole(root.open("later")) == b"here"


def pass_seconds(monkeypatch, seconds, *, wall=None):
    """Move the clocks on; the one on the wall by ``wall`` if given."""
    for name, moved in (("monotonic_ns", seconds), ("time_ns", wall or seconds)):
        clock = getattr(time, name)
        ahead = int(moved * 1e9)
        monkeypatch.setattr(time, name, lambda clock=clock, ahead=ahead: clock() + ahead)


def test_a_file_opened_before_is_read_as_it_is_now(tree, monkeypatch):
    root = Root(tree)
    pass_seconds(monkeypatch, 60)
    for octets in (b"in root", b"other octets", b"again"):
        (tree / "file").write_bytes(octets)
        for _ in range(3):
            assert whole(root.open("file")) == octets
    (tree / "file").unlink()
    (tree / "file").symlink_to("../secret")
    assert root.open("file").code is ErrorCode.ACCESS_VIOLATION


def test_a_root_let_go_keeps_no_folder_open(tree, monkeypatch):
    """As when a catalog is replaced; at once, not at the collector's next round."""
    pass_seconds(monkeypatch, 60)
    before = _open_descriptors()
    root = Root(tree)
    for _ in range(2):  # the second finds a file that is known
        assert whole(root.open("file")) == b"in root"
    gc.disable()
    try:
        del root
        assert _open_descriptors() == before
    finally:
        gc.enable()


def _open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_changed_lately_is_opened_each_time(tree, monkeypatch):
    root = Root(tree)
    root.open("file").close()

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tftp.root.os.open", refused)  # a chmod within the same tick
    assert root.open("file").code is ErrorCode.ACCESS_VIOLATION


def test_a_file_replaced_between_look_and_read_is_noticed(tree, monkeypatch):
    root = Root(tree)
    pass_seconds(monkeypatch, 60)
    root.open("file").close()
    content = root.open("file")  # known by now, and not opened yet
    (tree / "file").unlink()
    (tree / "file").write_bytes(b"in rooT")
    with pytest.raises(ChangedError):
        content.read(0, 4)
