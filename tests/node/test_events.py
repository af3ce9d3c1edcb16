"""The event log: JSON lines, bounded, rotated, and never in the way of a service."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
import trio

from lab.events import EventLog
from lab.visits import lists_taken

MAC = "00005E005301"


def test_events_are_json_lines_with_a_time(tmp_path: Path) -> None:
    seen = []
    log = EventLog(tmp_path / "events.jsonl", max_bytes=10_000, kept_files=1, readers=[seen.append])
    log.report({"event": "tvs.answer", "device": "SEP001122AABBCC", "outcome": "trusted"})
    log.close()
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {"event": "tvs.answer", "device": "SEP001122AABBCC", "outcome": "trusted"}
    assert seen[0]["device"] == "SEP001122AABBCC"


def test_the_log_is_bounded_and_loses_the_oldest(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", max_bytes=1_000, kept_files=2)
    for number in range(100):
        log.report({"event": "x", "number": number})
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(path.stat().st_size <= 1_000 for path in files)
    numbers = [
        json.loads(line)["number"]
        for name in ("events.jsonl.2", "events.jsonl.1", "events.jsonl")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert numbers == list(range(numbers[0], 100))


def test_without_a_descriptor_no_older_event_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, max_bytes=100, kept_files=2)
    for number in range(6):
        log.report({"event": "x", "number": number})

    def kept() -> list[int]:
        files = [path.with_name(name) for name in ("events.jsonl.2", "events.jsonl.1", path.name)]
        lines = "".join(file.read_text() for file in files if file.exists()).splitlines()
        return [json.loads(line)["number"] for line in lines]

    before = kept()
    with monkeypatch.context() as patched:
        patched.setattr("lab.events.open_or_make", refuse := Mock(side_effect=OSError(24, "")))
        for number in range(6, 12):
            log.report({"event": "x", "number": number})
    assert refuse.call_count == log.lost == 6
    assert kept() == before
    log.report({"event": "x", "number": 12})
    assert kept() == [*before[1:], 12]
    log.close()


def test_an_event_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", max_bytes=1_000, kept_files=1)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._descriptor)
    os.close(full)
    log.report({"event": "x"})
    assert log.lost == 1
    log.close()


def test_lines_of_one_round_are_written_together_and_soon(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", max_bytes=1_000, kept_files=9)

    async def serve() -> None:
        for number in range(50):
            log.report({"event": "x", "number": number})
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert numbers() == list(range(50))
        log.report({"event": "x", "number": 50})
        log.close()

    def numbers() -> list[int]:
        files = sorted(tmp_path.iterdir(), reverse=True)
        files.append(files.pop(files.index(tmp_path / "events.jsonl")))
        assert all(path.stat().st_size <= 1_000 for path in files)
        lines = "".join(path.read_text() for path in files).splitlines()
        return [json.loads(line)["number"] for line in lines]

    trio.run(serve)
    assert numbers() == list(range(51))


def test_lists_taken_are_read_in_the_order_of_the_files_numbers(tmp_path: Path) -> None:
    """The older files were copied back last, the second of them cut off in a line."""

    def fetched(minute: int, file: str) -> bytes:
        time = f"2026-03-01T10:{minute:02}:00.000Z"
        event = {"time": time, "outcome": "done", "device": f"SEP{MAC}", "file": file}
        return json.dumps(event, separators=(",", ":")).encode() + b"\n"

    itl, configuration = f"ITLSEP{MAC}.tlv", f"SEP{MAC}.cnf.xml.sgn"
    pieces = (
        b'{"file":1}\n' + fetched(1, itl),
        fetched(2, configuration),
        fetched(3, itl) + fetched(4, configuration)[:-3],
        *[b""] * 8,
    )
    for age, piece in enumerate(reversed(pieces)):
        path = tmp_path / (f"events.jsonl.{age}" if age else "events.jsonl")
        path.write_bytes(piece)
        os.utime(path, (1000 * age, 1000 * age))
    assert lists_taken(tmp_path) == {f"SEP{MAC}": datetime(2026, 3, 1, 10, 1, tzinfo=UTC)}


def test_a_time_without_its_zone_is_no_time(tmp_path: Path) -> None:
    event = {"time": "2026-03-01T10:01:00", "outcome": "done", "device": f"SEP{MAC}"}
    names = (f"ITLSEP{MAC}.tlv", f"SEP{MAC}.cnf.xml.sgn")
    lines = [json.dumps(event | {"file": name}, separators=(",", ":")) for name in names]
    (tmp_path / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert lists_taken(tmp_path) == {}


def test_a_name_that_is_not_utf8_ends_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl", max_bytes=1_000, kept_files=1)
    log.report(
        {"event": "plane.refused", "reason": os.fsdecode(b"a\xff.json"), "names": ["\udc80"]}
    )
    log.close()
    event = json.loads((tmp_path / "events.jsonl").read_bytes().decode())
    assert (event["reason"], event["names"]) == (r"a\xff.json", [r"\x80"])


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.1"])
def test_a_pipe_in_the_place_of_the_log_is_told_and_not_waited_for(
    tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=f"is no regular file.*{name}"):
        lists_taken(tmp_path)
    if name == "events.jsonl":
        with pytest.raises(OSError, match="is no regular file"):
            EventLog(tmp_path / name, max_bytes=1_000, kept_files=1)
