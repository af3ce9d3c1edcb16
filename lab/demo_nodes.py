"""The nodes of the demo: made in a temporary folder, run as daemons, gone afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from conf.creation import Request, create_node
from lab import LabError

READY_SECONDS = 30.0
STOP_SECONDS = 4.0  # a daemon drains for 2 seconds at most
PROGRAM = (sys.executable, "-P", "-m", "lab")  # -P: whatever lies in the current folder


class DemoError(LabError):
    """The demo could not be played on this machine; the text says what failed."""


@dataclass(frozen=True)
class NodePlan:
    """A node to be: its host name, its loopback address, the cluster it is of."""

    cluster: str
    host: str
    address: str


@dataclass(frozen=True)
class RunningNode:
    """A daemon that is ready: its folder and where it listens."""

    plan: NodePlan
    state: Path
    tvs: tuple[str, int]
    tftp: tuple[str, int]


def loopback(number: int) -> str:
    """127.0.0.``number`` where this machine has it (Linux has them all), else 127.0.0.1."""
    address = f"127.0.0.{number}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((address, 0))
        except OSError:
            return "127.0.0.1"
    return address


async def create(folder: Path, plans: Sequence[NodePlan], *, secure: bool) -> None:
    """Make the nodes, one after another: a key that is made holds the whole interpreter."""
    first: dict[str, Path] = {}
    for plan in plans:
        state, join = folder / plan.host, first.get(plan.cluster)
        request = Request(
            cluster=None if join else plan.cluster,
            host=plan.host,
            address=plan.address,
            secure=False if join else secure,
            list_signer=None,
            identities={},
            join=join,
        )
        await trio.to_thread.run_sync(create_node, state, request)
        first.setdefault(plan.cluster, state)


@asynccontextmanager
async def serving(
    folder: Path, stages: Sequence[Sequence[NodePlan]], *, phone: str
) -> AsyncIterator[dict[str, RunningNode]]:
    """Run a daemon for each node; by host name. ``phone`` is a MAC they all know.

    Those of a stage start at the same time, when those of the stage before are ready.
    """
    running: dict[str, RunningNode] = {}
    async with trio.open_nursery() as nursery:

        async def start(plan: NodePlan) -> None:
            running[plan.host] = await nursery.start(_serve, folder / plan.host, plan, phone)

        for stage in stages:
            async with trio.open_nursery() as starting:
                for plan in stage:
                    starting.start_soon(start, plan)
        try:
            yield running
        finally:
            nursery.cancel_scope.cancel()


async def _serve(
    state: Path,
    plan: NodePlan,
    phone: str,
    *,
    task_status: trio.TaskStatus[RunningNode] = trio.TASK_STATUS_IGNORED,
) -> None:
    ports = ("--tvs-port", "0", "--tftp-port", "0")
    command = ("--state", str(state), "serve", "--address", plan.address, *ports, "--json")
    log = state.parent / f"{plan.host}.log"
    with log.open("wb") as errors:
        process = await trio.lowlevel.open_process(
            [*PROGRAM, *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "TRUSTLAB_SET_PHONES__MACS": f'["{phone}"]'},
        )
    try:
        task_status.started(await _ready(process, state, plan, log))
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await _end(process)


async def _ready(process: trio.Process, state: Path, plan: NodePlan, log: Path) -> RunningNode:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    line = b""
    with trio.move_on_after(READY_SECONDS):
        while not line.endswith(b"\n") and (octets := await process.stdout.receive_some()):
            line += octets
    try:
        said = json.loads(line)
    except ValueError:
        said_last = await trio.Path(log).read_text(errors="replace")
        told = said_last.strip().splitlines() or ["it said nothing"]
        raise DemoError(f"the daemon of {plan.host} did not start: {told[-1]}") from None
    return RunningNode(plan, state, tuple(said["tvs"]), tuple(said["tftp"]))


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    with trio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()


async def command(state: Path, *arguments: str) -> dict[str, Any]:
    """Run one command of the program on a node; the JSON object it prints. Raises DemoError."""
    done = await trio.run_process(
        [*PROGRAM, "--state", str(state), *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "TRUSTLAB_BUNDLE_PASSWORD": "demo"},
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise DemoError(f"{' '.join(arguments)} ended with {done.returncode}: {said}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told
