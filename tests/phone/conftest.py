"""Clusters made of a few keys."""

from collections.abc import Callable

import pytest

from conf.signer import Signer
from tests.phone.clusters import Cluster, self_signed


@pytest.fixture(autouse=True)
def _phone_beside_its_server(one_thread: None) -> None:
    """Phones run in the thread of the servers they ask."""


@pytest.fixture(scope="session")
def make_signer(rsa_keys) -> Callable[..., Signer]:
    """``make_signer(name, key_number)``: one certificate for each name and number."""
    made: dict[tuple[object, ...], Signer] = {}

    def make(common_name, number, **options) -> Signer:
        key = (common_name, number, *sorted(options.items()))
        if key not in made:
            options.setdefault("serial", 0x70CAF64E0000 + len(made))
            made[key] = self_signed(common_name, rsa_keys(number % 6), **options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def make_cluster(make_signer) -> Callable[..., Cluster]:
    """``make_cluster("a", 0)``: a node with four identities, from keys ``number`` on."""

    def make(name, number, *, secure=False, recovery=None, peers=()) -> Cluster:
        return Cluster(
            recovery=recovery or make_signer(f"ITLRECOVERY_{name}", number),
            callmanager=make_signer(name, number + 1),
            tvs=make_signer(f"{name}-TVS", number + 2),
            capf=make_signer(f"CAPF-{name}", number + 3),
            secure=secure,
            peers=tuple(peers),
        )

    return make


@pytest.fixture(scope="session")
def source(make_cluster) -> Cluster:
    return make_cluster("source", 0)


@pytest.fixture(scope="session")
def destination(make_cluster) -> Cluster:
    return make_cluster("destination", 3)


@pytest.fixture(scope="session")
def secure_source(make_cluster) -> Cluster:
    return make_cluster("source", 0, secure=True)


@pytest.fixture(scope="session")
def secure_destination(make_cluster) -> Cluster:
    return make_cluster("destination", 3, secure=True)
