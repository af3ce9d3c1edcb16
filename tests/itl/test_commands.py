"""The commands as a user calls them: verdicts, exit codes, JSON, files whole or not at all."""

import json
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from itl.signedfile import parse_signed_file, sign_file
from itl.signing import Verdict, verify_data
from itl.trustlist import RecordSpec, parse_trust_list
from lab.cli.documents import MAX_BYTES
from lab.cli.main import run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def signer_files(forge, folder):
    """`--signer` and its key as files, and the signer."""

    def write(signer, name="signer"):
        pem = x509.load_der_x509_certificate(signer.certificate).public_bytes(Encoding.PEM)
        key = signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem)
        (folder / f"{name}.key").write_bytes(key)
        return ["--signer", f"{name}.pem", "--signer-key", f"{name}.key"]

    return write


@pytest.fixture
def verify(capsys):
    """Run a verify command; answers its exit code and one value for each line."""

    def call(*arguments):
        code = run([*arguments, "--json"])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def test_verify_tells_every_verdict_and_the_worst_decides(forge, folder, verify):
    (folder / "valid.tlv").write_bytes(forge.list())
    (folder / "invalid.tlv").write_bytes(forge.list()[:-1] + b"\x01")
    (folder / "short.tlv").write_bytes(forge.list()[:-1])
    stranger = [RecordSpec(0, forge.certificate("CN=other", serial=1))]
    (folder / "unknown.tlv").write_bytes(forge.list(records=stranger))
    assert verify("itl", "verify", "valid.tlv")[0] == 0
    assert verify("itl", "verify", "valid.tlv", "invalid.tlv")[0] == 1
    names = ["valid.tlv", "invalid.tlv", "short.tlv", "unknown.tlv", "absent.tlv", "."]
    code, values = verify("itl", "verify", *names)
    assert code == 3
    assert [value["file"] for value in values] == names
    assert [value["verdict"] for value in values] == [
        "valid",
        "invalid",
        "malformed",
        "unknown",
        "unknown",
        "unknown",
    ]
    assert values[0]["signer"]["record"] == 1
    assert values[0]["signer"]["serial"] == "24491f10703fea9b"
    assert [finding["code"] for finding in values[4]["findings"]] == ["unreadable"]
    for value in values:
        assert list(value) == ["file", "verdict", "signer", "findings"]
        assert all(set(finding) == {"code", "text"} for finding in value["findings"])


def test_verify_with_a_certificate_given(forge, folder, verify, signer_files):
    signer_files(forge.signer(), "right")
    signer_files(forge.signer(2048), "wrong")
    (folder / "list.tlv").write_bytes(forge.list())
    signed = sign_file(b"x", name="a.sgn", signer=forge.signer(), timestamp=1)
    (folder / "a.sgn").write_bytes(signed)
    for group, file in (("itl", "list.tlv"), ("sgn", "a.sgn")):
        assert verify(group, "verify", file, "--signer", "right.pem")[0] == 0
        assert verify(group, "verify", file, "--signer", "wrong.pem")[0] == 1
    assert verify("sgn", "verify", "a.sgn")[0] == 3
    assert run(["sgn", "verify", "a.sgn", "--signer", "a.sgn"]) == 3
    assert run(["sgn", "verify"]) == 2


def test_verify_notices_the_other_kind_of_list(forge, folder, verify):
    (folder / "CTLFile.tlv").write_bytes(forge.list(filename="CTLFile.tlv"))
    code, (value,) = verify("itl", "verify", "CTLFile.tlv")
    assert code == 0
    assert value["findings"][-1]["code"] == "other-list"
    assert verify("ctl", "verify", "CTLFile.tlv")[1][0]["findings"][-1]["code"] != "other-list"
    assert verify("sgn", "verify", "CTLFile.tlv")[0] == 0


def test_hundreds_of_files_in_one_run(forge, folder, verify):
    names = [f"{number}.tlv" for number in range(300)]
    for name in names:
        (folder / name).write_bytes(forge.list(timestamp=int(name[:-4])))
    code, values = verify("itl", "verify", *names)
    assert code == 0
    assert {value["verdict"] for value in values} == {"valid"}
    assert len(values) == 300


def test_file_names_and_contents_do_not_reach_the_terminal_raw(forge, folder, capsys):
    evil = "\x1b]0;owned\x07\x9b31m\n"
    signer = forge.signer()
    records = [RecordSpec(0, signer.certificate, evil), RecordSpec(9, None, evil)]
    data = forge.list(signer, records)
    at = data.index(b"cucm.lab")
    mutated = data[:at] + b"\x1b[31m\x9bx" + data[at + 7 :]
    for name, octets in (("e\x1bvil.tlv", mutated), ("b.tlv", data)):
        (folder / name).write_bytes(octets)
        for command in (["verify"], ["verify", "--json"], ["show"], ["show", "--json"]):
            run(["itl", command[0], name, *command[1:]])
        run(["itl", "diff", name, name])
    name = os.fsdecode(b"\xff\xfe.tlv")
    (folder / name).write_bytes(mutated[:60])
    for command in (["verify"], ["verify", "--json"], ["show"]):
        run(["itl", command[0], name, *command[1:]])
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert text
        assert not {one for one in text if not one.isprintable()} - {"\n", "\t"}


def test_show_json_and_text(forge, folder, capsys):
    (folder / "a.tlv").write_bytes(forge.list())
    assert run(["itl", "show", "a.tlv", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [record["role"]["name"] for record in value["records"]] == ["SAST", "TFTP", "TVS"]
    assert run(["itl", "show", "a.tlv"]) == 0
    assert "ITL Record #:3" in capsys.readouterr().out
    (folder / "blank.tlv").write_bytes(b" ")
    assert run(["ctl", "show", "blank.tlv"]) == 3
    assert "blank.tlv: 1 blank" in capsys.readouterr().err


def test_diff_answers_with_its_exit_code(forge, folder, capsys):
    (folder / "a.tlv").write_bytes(forge.list())
    (folder / "b.tlv").write_bytes(forge.list(timestamp=9))
    (folder / "c.tlv").write_bytes(forge.list(forge.signer(2048, serial=9)))
    assert run(["itl", "diff", "a.tlv", "b.tlv"]) == 0
    assert "accepts" in capsys.readouterr().out
    assert run(["itl", "diff", "a.tlv", "c.tlv", "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert value["phone"]["reaction"] == "needs-tvs"
    assert value["phone"]["tvs"]["serial"] == "09"
    assert [len(value[kind]) for kind in ("gone", "come", "changed")] == [0, 0, 2]
    (folder / "d.tlv").write_bytes(b"x")
    assert run(["itl", "diff", "a.tlv", "d.tlv"]) == 3


def test_verify_and_diff_tell_people_what_they_tell_programs(forge, folder, capsys, signer_files):
    signer_files(forge.signer(), "given")
    (folder / "a.tlv").write_bytes(forge.list())
    (folder / "b.tlv").write_bytes(forge.list(forge.signer(2048, subject="CN=new", serial=9)))
    assert run(["itl", "verify", "a.tlv"]) == 0
    name = "CN=cucm.lab;OU=Voice;O=Lab;L=City;ST=State;C=US"
    assert f"a.tlv: valid, signed by {name} (record 1)\n" in capsys.readouterr().out
    assert run(["itl", "verify", "a.tlv", "--signer", "given.pem"]) == 0
    assert "(the certificate given)" in capsys.readouterr().out
    signer = forge.signer()
    more = [RecordSpec(0, signer.certificate), RecordSpec(2, None, "gone.lab")]
    (folder / "c.tlv").write_bytes(forge.list(signer, more))
    assert run(["itl", "diff", "a.tlv", "c.tlv"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"- TFTP {name}, serial 24491f10703fea9b (cucm.lab)" in lines
    assert "+ CCM+TFTP without certificate (gone.lab)" in lines
    assert run(["itl", "diff", "a.tlv", "a.tlv"]) == 0
    assert "the same certificates in the same roles" in capsys.readouterr().out


def test_a_file_larger_than_any_firmware_is_not_read(folder, verify):
    with (folder / "huge.tlv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    code, (value,) = verify("itl", "verify", "huge.tlv")
    assert code == 3
    assert value["findings"][0]["code"] == "unreadable"


def test_build_writes_what_was_asked_for(forge, folder, signer_files, capsys):
    arguments = signer_files(forge.signer(2048))
    (folder / "tvs,1.der").write_bytes(forge.certificate("CN=tvs", key=forge.ec_key()))
    records = [
        "SAST=signer.pem,dns=cucm.lab,address=10.0.0.1",
        "ccm+tftp=signer.pem,address=10.0.0.1,dns=cucm.lab",
        "21=tvs,1.der,dns=tvs.lab,address=2001:db8::1",
        "TFTP=-,dns=gone.lab,address=10.0.0.9",
    ]
    options = [word for record in records for word in ("--record", record)]
    assert run(["itl", "build", *options, *arguments, "-o", "ITLFile.tlv"]) == 0
    assert "warning: 2001:db8::1: IPv6, left out of the record" in capsys.readouterr().err
    data = (folder / "ITLFile.tlv").read_bytes()
    assert verify_data(data).verdict is Verdict.VALID
    read = parse_trust_list(data)
    assert [(r.role, r.dns_name, r.address) for r in read.records] == [
        (0, "cucm.lab", "10.0.0.1"),
        (2, "cucm.lab", "10.0.0.1"),
        (21, "tvs.lab", None),
        (3, "gone.lab", "10.0.0.9"),
    ]
    assert (read.header.digest, read.header.signer_version) == ("sha1", None)


def test_build_in_another_style(forge, folder, signer_files):
    arguments = ["--record", "SAST=signer.pem", *signer_files(forge.signer(2048)), "-o", "x.tlv"]
    more = ["--style", "certutils", "--signer-version", "1.1", "--digest", "sha512"]
    assert run(["itl", "build", *arguments, *more]) == 0
    header = parse_trust_list((folder / "x.tlv").read_bytes()).header
    assert (header.signer_version, header.digest) == ((1, 1), "sha512")
    assert "," in header.signer_name
    assert run(["ctl", "build", *arguments, "--signer-version", "1.0"]) == 2
    assert run(["ctl", "build", *arguments]) == 0
    assert parse_trust_list((folder / "x.tlv").read_bytes()).kind == "CTL"


@pytest.mark.parametrize(
    "case",
    [
        (1024, ["--record", "TFTP=signer.pem"], "no SAST of the list"),
        (1024, ["--record", "SAST=signer.pem", *["--record", "TVS=signer.pem"] * 39], "39"),
        (
            1024,
            ["--record", "SAST=signer.pem", *["--record", "TVS=-,dns=" + "n" * 9000] * 8],
            "65536",
        ),
        (
            1024,
            ["--record", "SAST=signer.pem", "--digest", "sha512", "--phones", "7900"],
            "verify SHA-1 only",
        ),
        (1024, ["--record", "SAST=signer.pem", "--phones", "5500"], "phone family"),
        (1024, ["--record", "SAST=signer.pem", "--digest", "sha256"], "never written"),
        (3072, ["--record", "SAST=signer.pem"], "3072"),
        (1024, ["--record", "SAST"], "not ROLE=CERT"),
        (1024, ["--record", "SAST=none.pem"], "--record none.pem"),
        (1024, ["--record", "SAST=signer.pem,address=nowhere"], "nowhere"),
        (1024, ["--record", "boss=signer.pem"], "role 'boss'"),
    ],
)
def test_build_refuses_what_phones_or_the_format_cannot_take(
    forge, folder, signer_files, capsys, case
):
    bits, arguments, said = case
    files = signer_files(forge.signer(bits))
    assert run(["itl", "build", *arguments, *files, "-o", "x.tlv"]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert not (folder / "x.tlv").exists()


def test_build_warns_and_can_be_forced(forge, folder, signer_files, capsys):
    files = signer_files(forge.signer(1024))
    (folder / "old.der").write_bytes(forge.certificate("CN=other"))
    three = [*["--record", "SAST=signer.pem"] * 3, "--digest", "sha512"]
    assert run(["itl", "build", *three, *files, "-o", "a.tlv"]) == 0
    said = capsys.readouterr().err
    assert "warning: 3 SAST records" in said
    assert "warning: sha512" in said
    forced = ["--record", "SAST=old.der", "--force"]
    assert run(["itl", "build", *forced, *files, "-o", "b.tlv"]) == 0
    assert "warning: the signer is no SAST" in capsys.readouterr().err
    assert run(["itl", "build", *three[:2], *files, "-o", "a.tlv", "--phones", "8800"]) == 0


def test_build_with_the_key_of_another_certificate(forge, folder, signer_files):
    signer_files(forge.signer(1024), "a")
    signer_files(forge.signer(2048), "b")
    mixed = ["--signer", "a.pem", "--signer-key", "b.key"]
    assert run(["itl", "build", "--record", "SAST=a.pem", *mixed, "-o", "x.tlv"]) == 2
    assert not (folder / "x.tlv").exists()


def test_sign_strip_and_what_is_signed_already(forge, folder, signer_files, capsys):
    files = signer_files(forge.signer())
    (folder / "a.cnf.xml").write_bytes(b"<device/>")
    assert run(["sgn", "sign", "a.cnf.xml", *files]) == 0
    signed = (folder / "a.cnf.xml.sgn").read_bytes()
    assert parse_signed_file(signed).header.filename == "a.cnf.xml.sgn"
    assert run(["sgn", "sign", "a.cnf.xml.sgn", *files]) == 2
    assert "signed already" in capsys.readouterr().err
    assert run(["sgn", "show", "a.cnf.xml.sgn"]) == 0
    assert "Length of payload: 9\n" in capsys.readouterr().out
    assert run(["sgn", "sign", "a.cnf.xml", *files, "--digest", "sha256", "-o", "c"]) == 2
    assert "never written" in capsys.readouterr().err
    named = ["--name", "Folder/a.cnf.xml.sgn", "-o", "b.sgn", "--digest", "sha512"]
    assert run(["sgn", "sign", "a.cnf.xml", *files, *named]) == 0
    header = parse_signed_file((folder / "b.sgn").read_bytes()).header
    assert (header.filename, header.digest) == ("Folder/a.cnf.xml.sgn", "sha512")
    assert run(["sgn", "strip", "a.cnf.xml.sgn"]) == 2
    assert "exists" in capsys.readouterr().err
    (folder / "a.cnf.xml").unlink()
    assert run(["sgn", "strip", "a.cnf.xml.sgn"]) == 0
    assert (folder / "a.cnf.xml").read_bytes() == b"<device/>"
    assert run(["sgn", "strip", "a.cnf.xml", "-o", "c"]) == 3
    (folder / "list.tlv").write_bytes(forge.list())
    assert run(["sgn", "strip", "list.tlv", "-o", "c"]) == 2
    assert run(["sgn", "decrypt", "a.cnf.xml.sgn", "--phone-key", "a.cnf.xml", "-o", "c"]) == 2
    assert run(["sgn", "decrypt", "a.cnf.xml.sgn", "--phone-key", "signer.key", "-o", "c"]) == 3
    assert not (folder / "c").exists()


def test_a_name_in_a_header_never_decides_where_a_file_is_written(forge, folder):
    signer = forge.signer()
    signed = sign_file(b"x", name="sub/evil.sgn", signer=signer, timestamp=1)
    (folder / "a.sgn").write_bytes(signed.replace(b"sub/evil.sgn", b"../../ev.sgn"))
    assert run(["sgn", "strip", "a.sgn"]) == 0
    assert (folder / "a").read_bytes() == b"x"
    assert sorted(path.name for path in folder.iterdir()) == ["a", "a.sgn"]


def test_an_88xx_container_is_never_signed(folder, forge, signer_files, capsys):
    (folder / "sip88xx.loads").write_bytes(bytes.fromhex("cd3412ab58010000") + bytes(400))
    files = signer_files(forge.signer())
    assert run(["sgn", "sign", "sip88xx.loads", *files]) == 2
    assert run(["sgn", "strip", "sip88xx.loads", "-o", "x"]) == 3
    assert run(["sgn", "show", "sip88xx.loads"]) == 3
    assert capsys.readouterr().err.count("78xx/88xx firmware container") == 3


def test_encrypt_and_decrypt(forge, folder, signer_files, capsys):
    files = signer_files(forge.signer())
    signer_files(forge.signer(2048), "phone")
    signer_files(forge.signer(4096), "other")
    plain = b"<device><secret>1</secret></device>"
    (folder / "SEP0.cnf.xml").write_bytes(plain)
    assert run(["sgn", "encrypt", "SEP0.cnf.xml", "--phone-cert", "phone.pem", *files]) == 0
    pointer = parse_signed_file((folder / "SEP0.cnf.xml.sgn").read_bytes())
    assert b"<encrConfig>true</encrConfig>" in pointer.payload
    encrypted = "SEP0.cnf.xml.enc.sgn"
    assert run(["sgn", "verify", encrypted, "--signer", "signer.pem"]) == 0
    assert run(["sgn", "decrypt", encrypted, "--phone-key", "other.key", "-o", "out.xml"]) == 3
    assert not (folder / "out.xml").exists()
    assert run(["sgn", "decrypt", encrypted, "--phone-key", "phone.key", "-o", "out.xml"]) == 0
    assert (folder / "out.xml").read_bytes() == plain
    assert (folder / "out.xml").stat().st_mode & 0o777 == 0o600
    key = forge.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ec.key").write_bytes(key)
    capsys.readouterr()
    assert run(["sgn", "decrypt", encrypted, "--phone-key", "ec.key", "-o", "ec.xml"]) == 2
    assert "EC certificates" in capsys.readouterr().err.replace("\n", " ")
    (folder / "ec.der").write_bytes(forge.certificate("CN=SEP", key=forge.ec_key()))
    assert run(["sgn", "encrypt", "SEP0.cnf.xml", "--phone-cert", "ec.der", *files]) == 2


@pytest.mark.timeout(10)
def test_pipes_and_devices_are_not_waited_for(folder, forge, verify):
    os.mkfifo(folder / "silent")
    assert verify("itl", "verify", "silent")[1][0]["verdict"] == "malformed"
    for device in ("/dev/zero", "/dev/null"):
        code, (value,) = verify("itl", "verify", device)
        assert (code, value["findings"][0]["text"]) == (3, f"{device}: a device")
    reading, writing = os.pipe()
    os.write(writing, forge.list())
    os.close(writing)
    assert verify("itl", "verify", f"/dev/fd/{reading}")[0] == 0
    os.close(reading)


@pytest.mark.parametrize(
    "command",
    [
        *(["sgn", "sign", name] for name in (".", "", "/", "..", os.fsdecode(b"\xff.xml"))),
        *(["sgn", "strip", name] for name in (".", "/", ".sgn")),
        ["sgn", "decrypt", ".enc.sgn", "--phone-key", "signer.key"],
        ["sgn", "sign", "a.xml", "--name", os.fsdecode(b"\xff.sgn")],
        ["itl", "build", "--record", os.fsdecode(b"SAST=signer.pem,dns=\xff"), "-o", "x"],
        ["itl", "build", "--record", f"{'9' * 5000}=signer.pem", "-o", "x"],
        ["itl", "build", "--record", "SAST=signer.pem,dns=a,dns=b", "-o", "x"],
        ["itl", "build", "--record", "SAST=signer.pem,address=::1,address=::1", "-o", "x"],
    ],
)
def test_odd_names_are_errors_of_ours_and_nothing_is_written(
    folder, forge, signer_files, capsys, command
):
    files = signer_files(forge.signer())
    signed = sign_file(b"x", name="a.sgn", signer=forge.signer(), timestamp=1)
    names = [".sgn", ".enc.sgn", "a.xml", os.fsdecode(b"\xff.xml")]
    for name, octets in zip(names, [signed, signed, b"x", b"x"], strict=True):
        (folder / name).write_bytes(octets)
    before = sorted(folder.iterdir())
    assert run([*command, *(files if command[1] in {"sign", "build"} else ())]) in {2, 3}
    assert capsys.readouterr().err.startswith("trustlab: ")
    assert sorted(folder.iterdir()) == before


def test_only_files_are_written_over(folder, forge, signer_files, capsys):
    os.mkfifo(folder / "pipe")
    (folder / "device").symlink_to("/dev/null")
    (folder / "sub").mkdir()
    build = ["itl", "build", "--record", "SAST=signer.pem", *signer_files(forge.signer())]
    for name in ("pipe", "device", "sub", ".", "absent/x.tlv"):
        assert run([*build, "-o", name]) == 2
        assert capsys.readouterr().err.startswith(f"trustlab: {name}: ")
    assert (folder / "pipe").is_fifo()
    assert (folder / "device").is_symlink()


def test_what_a_build_leaves_out_it_says(folder, forge, signer_files, capsys):
    files = signer_files(forge.signer())
    (folder / "two.pem").write_bytes((folder / "signer.pem").read_bytes() * 2)
    build = ["itl", "build", *files, "-o", "x.tlv", "--record"]
    assert run([*build, "SAST=two.pem,dns=a", "--style", "certutils"]) == 0
    said = capsys.readouterr().err
    assert "warning: two.pem: 2 certificates, the first is used" in said
    assert "warning: style certutils: DNS names and addresses are left out" in said


def test_neither_encrypted_file_is_written_without_the_other(folder, forge, signer_files):
    files = signer_files(forge.signer())
    signer_files(forge.signer(2048), "phone")
    (folder / "a.xml").write_bytes(b"<device/>")
    (folder / "a.xml.sgn").mkdir()
    assert run(["sgn", "encrypt", "a.xml", "--phone-cert", "phone.pem", *files]) == 2
    assert not (folder / "a.xml.enc.sgn").exists()
