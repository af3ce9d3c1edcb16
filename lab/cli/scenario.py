"""``trustlab scenario``: the catalogue of faults, and what phones did when they met them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio
from cyclopts import App
from rich.text import Text

from lab import exits
from lab.cli import terminal
from lab.cli.arguments import Flag
from lab.cli.receipts import add as add_row
from lab.cli.receipts import table
from lab.scenarios.judgement import Conduct, Met, judge
from lab.scenarios.model import Scenario, ScenarioError, find_scenario, shipped
from lab.scenarios.rehearsal import stages
from lab.text import clean
from lab.timeline import read_events

app = App(
    name="scenario",
    help="Servers that misbehave on purpose, and what a correct phone must do then.",
)
COLOURS = {Met.MET: "green", Met.NOT_MET: "red", Met.NOT_OBSERVED: "yellow"}


@app.command(name="list")
def list_scenarios(*, json: Flag = False) -> int:
    """List the scenarios that come with the program.

    Parameters
    ----------
    json:
        Print one JSON object for each.
    """
    if json:
        for scenario in shipped():
            terminal.emit({"name": scenario.name, "title": scenario.title, "model": scenario.model})
        return 0
    rows = table("scenarios", "name", "what happens")
    for scenario in shipped():
        add_row(rows, scenario.name, scenario.title)
    terminal.console.print(rows)
    return 0


@app.command
def show(name: str, *, json: Flag = False) -> int:
    """Show a scenario: its faults, what a phone must do, why, and where that is known from.

    Parameters
    ----------
    name:
        A name of the catalogue, or a .toml file.
    json:
        Print one JSON object.
    """
    scenario = find_scenario(name)
    if json:
        terminal.emit(msgspec.to_builtins(scenario))
        return 0
    say = terminal.console.print
    say(f"{scenario.name}: {clean(scenario.title)}", style="bold", soft_wrap=True)
    say(clean(scenario.why), soft_wrap=True)
    say(f"source: {clean(scenario.source)}", soft_wrap=True)
    say(f"a {scenario.model} in a {'secure' if scenario.secure else 'non-secure'} cluster")
    say("\nfaults", style="bold")
    for fault in scenario.fault:
        plain = msgspec.to_builtins(fault)
        boots = ", ".join(str(number) for number in plain.pop("boots"))
        told = ", ".join(f"{key} {_plain(value)}" for key, value in plain.items() if value != ())
        say(f"  boot {boots}: {clean(told)}", soft_wrap=True)
    say("\na correct phone", style="bold")
    for expectation in scenario.expect:
        mark = "" if expectation.standing == "required" else " (assumed)"
        say(f"  {clean(expectation.text)}{mark}", soft_wrap=True)
    return 0


def _plain(value: object) -> str:
    return " then ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


@app.command
def run(*names: str, events: Flag = False, json: Flag = False) -> int:
    """Play scenarios with an emulated phone, or judge the phones that met one at a daemon.

    Without a name the whole catalogue is played, on throw-away nodes on loopback. Exit codes: 0
    all required expectations are met, 1 some are not, 3 some were not observed.

    Parameters
    ----------
    names:
        Names of the catalogue, or .toml files.
    events:
        Play nothing: judge every phone by the event log of the node (--state) whose daemon runs,
        or ran, with this one scenario (serve --scenario).
    json:
        Print one JSON object for each scenario and phone.
    """
    scenarios = [find_scenario(name) for name in names] or list(shipped())
    if events:
        if len(names) != 1:
            raise ScenarioError("--events judges one scenario: name the one that was served")
        conducts = judge(scenarios[0], read_events(terminal.state_dir(), dict), ended=False)
        for conduct in conducts:
            _tell(conduct, json=json)
        if not conducts:
            terminal.say("no phone has asked for anything since the scenario began")
        return _worst(conducts)
    with tempfile.TemporaryDirectory(prefix="trustlab-scenario-") as folder:
        return _worst(trio.run(_play, scenarios, Path(folder), json))


async def _play(scenarios: Sequence[Scenario], folder: Path, json: bool) -> list[Conduct]:  # noqa: FBT001  trio.run passes arguments by position
    conducts = []
    async with stages(folder) as ready:
        for scenario in scenarios:
            conduct = await ready.play(scenario)
            _tell(conduct, json=json)
            conducts.append(conduct)
    return conducts


def _tell(conduct: Conduct, *, json: bool) -> None:
    if json:
        terminal.emit(conduct.as_json())
        return
    words = {0: ("met", "green"), 1: ("not met", "red"), 3: ("not observed", "yellow")}
    word, colour = words[conduct.exit_code]
    line = Text(f"{word:13}", colour)
    line.append(conduct.scenario.name, "bold")
    line.append(f"  {conduct.device}  {len(conduct.judged)} expectations")
    terminal.console.print(line, soft_wrap=True)
    for one in conduct.judged:
        if one.met is not Met.MET:
            told = Text(f"    {one.met.value}: ", COLOURS[one.met])
            told.append(clean(f"{one.expectation.text}: {one.reason}"))
            if one.expectation.standing == "assumed":
                told.append(" (assumed: not counted)")
            terminal.console.print(told, soft_wrap=True)


def _worst(conducts: Sequence[Conduct]) -> int:
    codes = {conduct.exit_code for conduct in conducts}
    if exits.NO in codes:
        return exits.NO
    return exits.UNKNOWN if exits.UNKNOWN in codes or not conducts else 0
