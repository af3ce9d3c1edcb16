"""The commands against two daemons, from the first boot to the moved phone."""

import json

import pytest

from lab import LabError
from lab.phone.state import load_phone
from tests.daemons import new_node, serving, trustlab
from tests.operations.clients import eventually
from tests.phone.servers import udp_socket

MAC = "00005E005301"


def told(done):
    """The one JSON object a command printed."""
    return json.loads(done.stdout)


def endpoint(address) -> str:
    return f"{address[0]}:{address[1]}"


@pytest.mark.timeout(120)
def test_a_migration_by_commands(tmp_path):
    source = new_node(tmp_path / "source", host="src")
    destination = new_node(tmp_path / "destination", host="dst")
    phone, shared, page = tmp_path / "phone", tmp_path / "shared", tmp_path / "report.html"
    with serving(source) as old, serving(destination, "--http-port", "0") as new:
        home, away = endpoint(old.tftp), endpoint(new.tftp)

        def boot(tftp, *arguments):
            where = ("--tftp", tftp, "--phone-dir", phone, "--timeout-seconds", "20")
            return trustlab("phone", "boot", *where, *arguments)

        def preflight(from_where, to_where, *arguments):
            sides = ("--source", from_where, "--destination", to_where)
            return trustlab("preflight", *sides, "--json", *arguments)

        first = boot(home, "--json", "--mac", "00-00-5e-00-53-01", "--model", "CP-8861")
        assert first.returncode == 0
        report = told(first)
        assert {"verdict", "messages", "requests", "tvs", "installed"} <= report.keys()
        assert (report["verdict"], report["messages"]) == ("updated", ["Trust List updated"])
        assert "ITLFile.tlv" in report["installed"]
        assert report["call_managers"] == ["127.0.0.1"]

        refused = boot(away, "--json")
        assert refused.returncode == 1
        assert told(refused)["messages"] == ["Trust List update failed"]
        assert told(refused)["tvs"][0]["outcome"] == "not trusted", told(refused)["tvs"]
        assert "Trust List update failed" in boot(away).stdout

        live = (f"tftp={home}", f"tftp={away},tvs={endpoint(new.tvs)}")
        before = preflight(*live)
        assert (before.returncode, told(before)["verdict"]) == (1, "will not follow")
        states = (f"state={source}", f"state={destination}")
        assert preflight(*states).returncode == 1

        for state in (destination, source):
            assert trustlab("bundle", "export", shared, state=state).returncode == 0
        held = f"list={phone / 'ITLFile.tlv'}"
        assert preflight(held, states[1]).returncode == 3
        assert preflight(f"{held},bundles={shared}", states[1]).returncode == 0

        for state in (destination, source):
            assert trustlab("bundle", "import", shared, "--yes", state=state).returncode == 0
        assert preflight(*states).returncode == 0
        own = len(list((source / "identities").glob("*.pem")))  # an export is a change as well
        eventually(lambda: any(e.get("certificates", 0) > own for e in old.events()))
        after = preflight(*live, "--html", page, "--simulate", "5", "--model", "8845")
        assert (after.returncode, told(after)["verdict"]) == (0, "will follow")
        assert told(after)["simulation"]["followed"] == 5
        assert "5 of 5 emulated phones followed" in " ".join(page.read_text().split())

        sides = ("--source", live[0], "--destination", live[1])
        assert "They will follow." in trustlab("preflight", *sides, "--simulate", "2").stdout

        moved = boot(away, "--json")
        assert (moved.returncode, told(moved)["verdict"]) == (0, "updated")
        running = json.loads((destination / "run.json").read_text())
        again = boot(away, "--json", "--http-port", str(running["http"][1]))
        assert (again.returncode, told(again)["verdict"]) == (0, "unchanged")
        itl = next(one for one in told(again)["requests"] if one["name"].startswith("ITL"))
        assert (itl["transport"], itl["outcome"]) == ("http", "ok")

        many = tmp_path / "many"
        arguments = ("--phone-dir", many, "--count", "40", "--rate", "200", "--json")
        load = trustlab("phone", "boot", "--tftp", away, *arguments)
        assert load.returncode == 0
        summary = told(load)
        assert (summary["phones"], summary["verdicts"]) == (40, {"updated": 40})
        assert [summary[name] for name in ("requests", "misses", "tvs_asked")] == [200, 120, 0]
        assert summary["boot_milliseconds"]["median"] > 0
        assert "40/40" in load.stderr
        assert "40 updated" in load.stderr
        assert len(list(many.iterdir())) == 40
    assert trustlab("phone", "reset", "--phone-dir", phone).returncode == 0
    assert list(phone.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("phone", "boot", "--tftp", "x:y", "--phone-dir", "p"),
        ("phone", "boot", "--tftp", "127.0.0.1:1", "--phone-dir", "p", "--count", "0"),
        ("phone", "boot", "--tftp", "127.0.0.1:1", "--phone-dir", "p", "--mac", "12"),
        ("phone", "boot", "--tftp", "127.0.0.1:1", "--phone-dir", "p", "--model", "x"),
        ("preflight", "--source", "sftp=x", "--destination", "tftp=y"),
        ("preflight", "--source", "tftp=x", "--destination", "list=y", "--simulate", "3"),
        ("preflight", "--source", "tftp=x", "--destination", "tftp=y", "--simulate=-3"),
        ("preflight", "--source", "state=x", "--destination", "tftp=y", "--simulate", "3"),
        ("preflight", "--source", "tftp=x", "--destination", "tftp=y", "--timeout-seconds", "0"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments, tmp_path):
    done = trustlab(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("trustlab: ")


@pytest.mark.parametrize("name", ["phone.json", "ITLFile.tlv"])
def test_a_damaged_phone_folder_is_an_error_with_its_place(tmp_path, name):
    (tmp_path / name).write_text("{")
    done = trustlab("phone", "boot", "--tftp", "127.0.0.1:1", "--phone-dir", tmp_path)
    assert done.returncode == 3
    assert str(tmp_path / name) in done.stderr


def test_a_remembered_answer_needs_the_zone_of_its_end(tmp_path):
    answer = {"issuer": "", "serial": "", "server_certificate": "", "certificate": "", "roles": []}
    kept = {"mac": MAC, "model": "8861", "protocol": "SIP"}  # the last of these: of old folders
    entry = answer | {"expires": "2030-01-01T00:00:00"}
    (tmp_path / "phone.json").write_text(json.dumps(kept | {"tvs_cache": [entry]}))
    with pytest.raises(LabError, match=r"phone\.json: .*timezone"):
        load_phone(tmp_path)


def test_a_load_that_cannot_be_kept_is_told_in_one_line(tmp_path):
    (tmp_path / "phones").write_text("a file where the folder should be")
    where = ("--phone-dir", tmp_path / "phones", "--count", "2", "--timeout-seconds", "0.2")
    done = trustlab("phone", "boot", "--tftp", "127.0.0.1:1", *where)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_an_unanswered_request_is_not_repeated_where_so_told(tmp_path):
    with udp_socket() as silent:
        where = ("--tftp", endpoint(silent.getsockname()), "--phone-dir", tmp_path, "--json")
        done = trustlab("phone", "boot", *where, "--retries", "0", "--timeout-seconds", "20")
        assert (done.returncode, told(done)["verdict"]) == (3, "unreachable")
        assert silent.recv(2048) == f"\0\1CTLSEP{MAC}.tlv\0octet\0".encode()
        with pytest.raises(BlockingIOError):
            silent.recv(2048)


def test_retries_below_zero_are_a_usage_error(tmp_path):
    where = ("--tftp", "127.0.0.1:1", "--phone-dir", tmp_path)
    done = trustlab("phone", "boot", *where, "--retries=-1")
    assert done.returncode == 2
    assert "--retries must be zero or more" in done.stderr
