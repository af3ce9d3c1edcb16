"""Keys, certificates and lists for the tests of the formats."""

from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.itl.forge import Forge


@pytest.fixture(scope="session")
def forge() -> Forge:
    return Forge(cache(lambda bits: rsa.generate_private_key(65537, bits)))
