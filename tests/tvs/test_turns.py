"""Whose turn it is: addresses alternate, a pause is not cut short, an end is an end."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from tvs.turns import OTHERS_FIRST, READABLE, Turn, Turns, wait_for


class Place:
    """Connections of one test: what they did is in ``steps``; ``ends`` are the clients' sockets."""

    def __init__(self) -> None:
        self.turns = Turns(lambda: self.pauses.append(len(self.steps)))
        self.steps: list[str] = []
        self.pauses: list[int] = []
        self.ends: list[socket.socket] = []

    def connect(self, address: str, work: Callable[[socket.socket, str], object]) -> Turn:
        ours, end = socket.socketpair()
        ours.setblocking(False)
        self.ends.append(end)
        turn = Turn(ours.fileno(), address, work(ours, address))
        self.turns.begin(turn)
        return turn

    async def three_steps(self, ours: socket.socket, address: str) -> None:
        with ours:
            await wait_for(READABLE)
            for _ in range(3):
                self.steps.append(address)
                await wait_for(OTHERS_FIRST)


@pytest.fixture
def place():
    @asynccontextmanager
    async def start() -> AsyncIterator[Place]:
        made = Place()
        async with trio.open_nursery() as nursery:
            yield made
            nursery.start_soon(made.turns.run)
            with trio.fail_after(5):
                await made.turns.gone()
            nursery.cancel_scope.cancel()
        made.turns.close()
        for end in made.ends:
            end.close()

    return start


async def test_addresses_take_turns_whatever_their_number_of_connections(place) -> None:
    async with place() as made:
        for _ in range(20):
            made.connect("flood", made.three_steps)
        made.connect("good", made.three_steps)
        for end in made.ends:
            end.send(b"x")
    assert len(made.steps) == 63
    places = [number for number, step in enumerate(made.steps) if step == "good"]
    assert all(place <= 2 * number + 1 for number, place in enumerate(places))


async def test_what_can_wait_is_done_for_many_steps_at_once_before_anybody_waits(place) -> None:
    async with place() as made:
        for _ in range(20):
            made.connect("one", made.three_steps)
        for end in made.ends:
            end.send(b"x")
    assert len(made.pauses) < 20
    assert made.pauses[-1] == 60


async def test_pauses_last_though_there_is_something_to_read(place) -> None:
    lasted = []

    async def pausing(ours: socket.socket, _: str) -> None:
        with ours:
            await wait_for(READABLE)
            for _ in range(2):
                begin = trio.current_time()
                await wait_for(0.05)
                lasted.append(trio.current_time() - begin)
            await wait_for(READABLE)

    async with place() as made:
        made.connect("one", pausing)
        made.ends[0].send(b"x")
    assert len(lasted) == 2
    assert min(lasted) >= 0.05


async def test_an_end_from_outside_reaches_one_that_waits_and_one_that_is_queued(place) -> None:
    told = []

    async def waiting(ours: socket.socket, address: str) -> None:
        with ours:
            try:
                await wait_for(READABLE if address == "waits" else OTHERS_FIRST)
            except ValueError as error:
                told.append(f"{address}: {error}")

    async with place() as made:
        for address in ("waits", "queued"):
            turn = made.connect(address, waiting)
            made.turns.throw(turn, ValueError("enough"))
            made.turns.throw(turn, ValueError("again"))
    assert told == ["waits: enough", "queued: enough"]


async def test_a_closed_socket_that_another_process_holds_open_ends_nothing(place) -> None:
    """As a process does that is just being started, until it has closed what is not its own."""
    copies = []

    async def leaving(ours: socket.socket, _: str) -> None:
        with ours:
            copies.append(ours.dup())
            await wait_for(READABLE)

    async with place() as made:
        made.connect("gone", leaving)
        made.connect("stays", made.three_steps)
        for end in made.ends:
            end.send(b"x")
    assert made.steps == ["stays"] * 3
    copies[0].close()
