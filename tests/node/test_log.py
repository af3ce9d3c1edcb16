"""The log for people: levels, limits, journal fields, and nothing that could drive a terminal."""

import json
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import log as logs
from lab.log import Log, journal_writer, level_of, stream_writer


def test_normal_misses_are_not_warnings() -> None:
    assert level_of({"outcome": "not found", "expected": True}) == "debug"
    assert level_of({"outcome": "trusted"}) == "info"
    assert level_of({"outcome": "failed"}) == "warning"


def test_the_name_of_our_own_question_hides_nothing_but_a_yes() -> None:
    assert level_of({"device": "trustlab-health", "outcome": "trusted"}) == "debug"
    assert level_of({"device": "trustlab-health", "outcome": "not trusted"}) == "info"
    assert level_of({"device": "trustlab-health", "outcome": "malformed"}) == "warning"


def test_under_attack_lines_are_limited_and_counted() -> None:
    now, written = [0.0], []
    log = Log(
        lambda level, event: written.append((level, event)),
        level="info",
        lines_per_second=3,
        clock=lambda: now[0],
    )
    for number in range(10):
        log.read({"event": "noise", "outcome": "failed", "number": number})
    log.read({"event": "tvs.answer", "outcome": "trusted"})
    assert [event.get("number") for _, event in written] == [0, 1, 2, None]
    now[0] = 1.0
    log.read({"event": "tvs.answer", "outcome": "trusted"})
    assert ("warning", {"event": "log.limited", "of": "noise", "lines": 7}) in written


def test_an_entry_the_journal_has_no_room_for_is_dropped(tmp_path: Path) -> None:
    kind = (socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket(*kind) as journal, socket.socket(*kind) as ours:
        journal.bind(str(tmp_path / "socket"))
        ours.connect(str(tmp_path / "socket"))
        write = journal_writer(ours)
        for _ in range(2000):  # nobody reads: the kernel keeps some hundred at most
            write("info", {"event": "tvs.answer", "reason": "no"})
        assert journal.recv(4096).startswith(b"MESSAGE=tvs.answer")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_line_is_one_line_without_control_characters(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stream_writer(style)("info", {"event": "x", "device": "SEP\x1b[2J\r", "reason": "a\nb=c"})
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert "\r" not in line
    assert "\\x1b[2J" in (json.loads(line)["device"] if style == "json" else line)


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    kind = (socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket(*kind) as journal, socket.socket(*kind) as ours:
        journal.bind(str(tmp_path / "socket"))
        ours.connect(str(tmp_path / "socket"))
        write = journal_writer(ours)
        no = {"event": "tvs.answer", "device": "SEP001122AABBCC", "reason": "no"}
        write("warning", no | {"names": ["a\udcffb"], "file": "a\udcffb"})
        lines = journal.recv(4096).decode().splitlines()
    assert "PRIORITY=4" in lines
    assert "TRUSTLAB_DEVICE=SEP001122AABBCC" in lines
    assert "MESSAGE=tvs.answer SEP001122AABBCC: no" in lines
    assert r"TRUSTLAB_FILE=a\xffb" in lines
    assert r'TRUSTLAB_NAMES=["a\\xffb"]' in lines


@pytest.mark.parametrize("goes_there", [True, False])
def test_the_journal_is_written_to_where_standard_error_goes_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_there: bool
) -> None:
    place = tmp_path / "socket"
    with (
        ExitStack() as opened,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        place.with_name("err").open("w+") as stderr,
    ):
        journal.bind(str(place))
        journal.settimeout(0)
        status = place.with_name("err").stat()
        # a terminal of a graphical session inherits the variable, for another stream
        stream = f"{status.st_dev}:{status.st_ino if goes_there else status.st_ino + 1}"
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        monkeypatch.setattr(logs, "JOURNAL_SOCKET", str(place))
        monkeypatch.setattr(
            logs, "journal_writer", lambda ours: journal_writer(opened.enter_context(ours))
        )
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.log_writer.__wrapped__("text")("info", {"time": "now", "event": "x"})
        stderr.seek(0)
        if goes_there:
            assert b"MESSAGE=x" in journal.recv(4096)
        assert stderr.read() == ("" if goes_there else "time=now level=info event=x\n")
