"""Files that peers send: whole or not at all, and nothing of them in anybody's way."""

import os
from contextlib import AsyncExitStack

import pytest
import trio

from tests.tftp.conftest import phone, serving
from tftp import RemoteError
from tftp.client import put
from tftp.uploads import MAX_AT_ONCE, Uploads

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path):
    made = tmp_path / "uploads"
    made.mkdir()
    return made


def held(place):
    return sorted(path.name for path in place.iterdir())


async def test_a_client_that_vanishes_midway_leaves_nothing(folder, place):
    async with serving(folder, uploads=Uploads(place, max_bytes=5000)) as service:
        async with phone(service) as client:
            assert await client.ask(b"\0\2log\0octet\0") == b"\0\4\0\0"
            assert await client.answer(b"\0\3\0\1" + bytes(512)) == b"\0\4\0\1"
            assert len(held(place)) == 1
            assert held(place)[0].startswith(".upload-")
        assert (await service.event(file="log", direction="received"))["outcome"] != "done"
        assert held(place) == []


async def test_uploads_that_nobody_goes_on_with_give_way_to_others(folder, place):
    async with (
        serving(folder, uploads=Uploads(place, max_bytes=5000)) as service,
        AsyncExitStack() as stack,
    ):
        clients = []
        for number in range(MAX_AT_ONCE + 2):
            clients.append(await stack.enter_async_context(phone(service)))
            assert await clients[-1].ask(b"\0\2log%d\0octet\0" % number) == b"\0\4\0\0"
        assert len(held(place)) <= MAX_AT_ONCE
        for client in clients[2:]:
            await client.tell(b"\0\3\0\1" + bytes(512))
            while await client.hear() != b"\0\4\0\1":
                pass  # a repetition
        await clients[0].sock.sendto(b"\0\2late\0octet\0", clients[0].service)
        while not (answer := await clients[0].hear()).startswith(b"\0\5"):
            pass
        assert b"too many" in answer


async def test_a_name_taken_while_the_file_came_is_not_overwritten(folder, place):
    async with serving(folder, uploads=Uploads(place, max_bytes=5000)) as service:
        async with phone(service) as client:
            await client.ask(b"\0\2log\0octet\0")
            (place / "log").write_bytes(b"first")
            refused = await client.answer(b"\0\3\0\1second")
            assert refused[:4] == b"\0\5\0\6"
        await service.event(file="log", outcome="failed")
        assert held(place) == ["log"]
        assert (place / "log").read_bytes() == b"first"


async def test_a_full_disk_is_error_3_and_leaves_nothing(folder, place, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    async with serving(folder, uploads=Uploads(place, max_bytes=5000)) as service:
        monkeypatch.setattr("tftp.uploads.os.write", full)
        with pytest.raises(RemoteError, match=r"ERROR 3.*No space left"):
            await put(service.host, service.port, "log", b"x")
        await service.event(file="log", outcome="failed")
        monkeypatch.undo()
        assert held(place) == []
        await put(service.host, service.port, "log", b"x")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"\xff" * 255, 3),  # 765 octets once decoded: more than a file system takes
        (b".", 2),
        (b"..", 2),
        (b".hidden", 2),
        (b"a/b", 2),
        (b"a\\b", 2),
        (b"../config", 2),
        (b"there", 6),
        (b"/there", 6),
        (b"dangling", 6),
    ],
)
async def test_names_that_are_refused_and_the_service_goes_on(folder, place, name, code):
    (place / "there").touch()
    (place / "dangling").symlink_to("nowhere")
    async with serving(folder, uploads=Uploads(place, max_bytes=5000)) as service:
        async with phone(service) as client:
            answer = await client.ask(b"\0\2" + name + b"\0octet\0")
            if answer[:2] == b"\0\4":
                answer = await client.answer(b"\0\3\0\1x")
            assert answer[:4] == b"\0\5" + code.to_bytes(2, "big")
        with trio.fail_after(5):
            await put(service.host, service.port, "after", b"x")
        assert held(place) == ["after", "dangling", "there"]


def test_what_a_killed_service_left_is_removed_and_nothing_else(place):
    (place / ".upload-abc").touch()
    (place / "log").touch()
    os.utime(place / "log", (1, 1))
    Uploads(place, max_bytes=1)
    assert held(place) == ["log"]
