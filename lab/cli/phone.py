"""``trustlab phone``: emulated phones."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trio
from cyclopts import App, Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab.cli import terminal
from lab.cli.arguments import Flag, Positive
from lab.endpoint import UsageError, parse_endpoint
from lab.phone.boot import Boot, boot
from lab.phone.fetch import FileServer
from lab.phone.load import Load, boot_many
from lab.phone.models import HTTP_PORT, Model
from lab.phone.state import Phone, factory_reset, following_mac, load_phone, save_phone
from lab.text import clean
from tftp.client import RETRIES

TFTP_PORT = 69

app = App(
    name="phone",
    help="Emulated phones: what they ask for, what they believe, what their status page says.",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class BootOptions:
    """How phones boot.

    Parameters
    ----------
    tftp:
        The phones' TFTP server, HOST or HOST:PORT.
    phone_dir:
        What the phone holds; made on its first boot. With --count, one folder a phone below it.
    mac:
        Its MAC address; kept in the folder, 00005E005301 at first. With --count, the first one.
    model:
        Four digits; kept in the folder, 8861 at first. Decides on digests, TLS, and HTTP first.
    http_port:
        Where models that do so try HTTP before TFTP: 6970 beside TFTP port 69, else not at all.
    bare_ctl:
        Ask for CTLFile.tlv when the phone's own CTL is missing; assumed that some models do.
    timeout_seconds:
        How long a phone waits while nothing comes, for each file, and for each TVS server.
        Assumed: what real phones take is not public.
    retries:
        How often in a row a TFTP request or ACK that nobody answers is sent again within that time:
        after a second, again after one, then after twice as long each time. Assumed.
    """

    tftp: str
    phone_dir: Path
    mac: str | None = None
    model: str | None = None
    http_port: int | None = None
    bare_ctl: Flag = False
    timeout_seconds: Positive = 5.0
    retries: int = RETRIES

    def server(self, model: Model) -> FileServer:
        """The file server as a phone of ``model`` uses it."""
        host, port = parse_endpoint(self.tftp, TFTP_PORT)
        beside = HTTP_PORT if port == TFTP_PORT else None
        http_port = beside if self.http_port is None else self.http_port
        return FileServer(
            host,
            port,
            http_port if model.http_first else None,
            self.timeout_seconds,
            self.retries,
        )

    async def boot(self, phone: Phone) -> Boot:
        """Boot ``phone``."""
        return await boot(
            phone,
            self.server(phone.model),
            tvs_seconds=self.timeout_seconds,
            bare_ctl=self.bare_ctl,
        )


@app.command(name="boot")
def boot_command(
    options: BootOptions,
    *,
    count: int = 1,
    rate: Positive = 50.0,
    json: Flag = False,
) -> int:
    """Reset phones: they fetch their lists and their configuration, and believe them or not.

    The server may be a real CUCM: nothing is written to it, and nothing is sent that a phone would
    not send. Verdicts:
    "updated" (a new trust list is installed), "unchanged" (the lists held stay in force), "no trust
    list" (there is none, configuration is taken unsigned): exit code 0. "refused" (a list or the
    configuration was not believed; the old ones stay): 1. "unreachable" (no answer), "nothing
    served" (the server has no file for the phone): 3.

    Parameters
    ----------
    count:
        How many phones boot.
    rate:
        How many of them start in a second.
    json:
        One object on standard output.
    """
    if count < 1:
        raise UsageError("--count must be above zero")
    if options.retries < 0:
        raise UsageError("--retries must be zero or more")
    if count > 1:
        return trio.run(_boot_load, options, count, rate, json)
    phone = load_phone(options.phone_dir, mac=options.mac, model_name=options.model)
    run = trio.run(options.boot, phone)
    save_phone(options.phone_dir, phone)
    if json:
        terminal.emit(run.report())
    else:
        _show(run)
    return run.verdict.exit_code


@app.command(name="reset")
def reset_command(*, phone_dir: Path) -> int:
    """Factory reset: the phone forgets its lists, its configuration, and who it is.

    Parameters
    ----------
    phone_dir:
        What the phone holds. Only files of a phone are removed.
    """
    factory_reset(phone_dir)
    return 0


async def _boot_load(options: BootOptions, count: int, rate: float, json: bool) -> int:  # noqa: FBT001 - trio.run passes arguments by position
    load = Load(count)
    started = time.monotonic()
    with _progress() as progress:
        line = progress.add_task("phones", total=count, verdicts="")

        async def finished(run: Boot) -> None:
            await trio.to_thread.run_sync(save_phone, options.phone_dir / run.phone.name, run.phone)
            words = ", ".join(f"{number} {verdict}" for verdict, number in load.verdicts.items())
            progress.update(line, completed=load.done, verdicts=words)

        await boot_many(_phones(options, count), options.boot, load, rate=rate, finished=finished)
    summary = load.summary(time.monotonic() - started)
    if json:
        terminal.emit(summary)
    else:
        for name, value in summary.items():
            text = terminal.plain(value) if isinstance(value, dict) else value
            terminal.console.print(f"{name.replace('_', ' ')}: {text}")
    return load.exit_code


def _phones(options: BootOptions, count: int) -> Iterator[Phone]:
    first = load_phone(options.phone_dir, mac=options.mac, model_name=options.model)
    for number in range(count):
        mac = following_mac(first.mac, number)
        yield load_phone(options.phone_dir / f"SEP{mac}", mac=mac, model_name=first.model.name)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[verdicts]}"),
        console=terminal.messages,
    )


def _show(run: Boot) -> None:
    table = Table(title=f"{run.phone.name} ({run.phone.model.name}): {run.verdict}")
    for heading in ("asked", "of", "answer"):
        table.add_column(heading, overflow="fold")
    for asked in run.requests:
        answer = asked.text or f"{len(asked.data)} octets"
        table.add_row(asked.name, asked.transport, clean(answer))
    for inquiry in run.inquiries:
        words = f"{inquiry.outcome} {inquiry.text}".strip()
        table.add_row(clean(inquiry.question.subject), f"TVS {inquiry.server}", clean(words))
    terminal.console.print(table)
    for line in run.messages:
        terminal.console.print(clean(line.line()))
