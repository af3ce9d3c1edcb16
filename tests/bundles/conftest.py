"""Two clusters, SiteA with two nodes and SiteB with one, and certificates of every kind."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conf.creation import Request, create_node
from conf.selfsigned import self_signed
from lab.cli.main import run
from tests.bundles.samples import Clusters, Result, pem_of


@pytest.fixture(scope="session")
def make_certificate():
    """``make_certificate(cn)``: DER of a self-signed certificate with that common name."""
    key = ec.generate_private_key(ec.SECP256R1())

    def make(common_name: str, *, days: int = 365, serial: int | None = None, key=key) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])
        begin = datetime.now(UTC) - timedelta(days=1000)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=1000 + days))
            .sign(key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.DER)

    return make


@pytest.fixture(scope="session")
def built_clusters(tmp_path_factory, rsa_keys) -> Path:
    """The state folders ``a1``, ``a2`` and ``b1``; keys shared between identities, for speed."""
    folder = tmp_path_factory.mktemp("clusters")

    def identities(host: str, first_key: int, names: tuple[str, ...]) -> dict[str, Path]:
        found = {}
        for number, name in enumerate(names):
            path = folder / f"{host}-{name}.pem"
            path.write_bytes(pem_of(self_signed(name, host, rsa_keys(first_key + number % 2))))
            found[name] = path
        return found

    own = ("CallManager", "TVS", "CAPF", "tomcat")

    def node(state: str, cluster: str | None, host: str, key: int, join: Path | None) -> None:
        names = own if join else (*own, "ITLRecovery")
        brought = identities(host, key, names)
        request = Request(
            cluster,
            host,
            "127.0.0.1",
            secure=False,
            list_signer=None,
            identities=brought,
            join=join,
        )
        create_node(folder / state, request)

    node("a1", "SiteA", "cucm-a1", 0, None)
    node("a2", None, "cucm-a2", 1, folder / "a1")
    node("b1", "SiteB", "cucm-b1", 2, None)
    return folder


@pytest.fixture
def clusters(built_clusters, tmp_path) -> Clusters:
    """Copies of the clusters' first nodes, and a folder for bundles that is not there yet."""
    for name in ("a1", "b1"):
        shutil.copytree(built_clusters / name, tmp_path / name)
    return Clusters(tmp_path / "a1", tmp_path / "b1", tmp_path / "shared")


@pytest.fixture
def trustlab(capsys) -> Callable[..., Result]:
    """``trustlab(state, command, …)`` runs the program in this process."""

    def call(state: Path, *arguments: object) -> Result:
        capsys.readouterr()
        code = run(["--state", str(state), *map(str, arguments)])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture(scope="session")
def consolidated(built_clusters, tmp_path_factory) -> Path:
    """What lies in the directory after both clusters exported and one consolidated."""
    shared = tmp_path_factory.mktemp("exchange") / "shared"
    for state, command in (("b1", "export"), ("a1", "export"), ("b1", "consolidate")):
        assert run(["--state", str(built_clusters / state), "bundle", command, str(shared)]) == 0
    return shared


@pytest.fixture
def exchanged(clusters, consolidated) -> Clusters:
    """Clusters that have exported both, one of which has consolidated."""
    shutil.copytree(consolidated, clusters.shared)
    return clusters


@pytest.fixture(scope="session")
def imported_state(built_clusters, consolidated, tmp_path_factory) -> Path:
    """SiteB after its import."""
    state = tmp_path_factory.mktemp("imported") / "b1"
    shutil.copytree(built_clusters / "b1", state)
    assert run(["--state", str(state), "bundle", "import", str(consolidated), "--yes"]) == 0
    return state


@pytest.fixture
def keytool(program) -> str:
    """Java's keytool."""
    return program("keytool")
