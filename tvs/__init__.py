"""Second floor: the Trust Verification Service, its trust store, and the bundles that fill it."""


class TvsError(Exception):
    """A TVS exchange, trust store or bundle that gave no usable answer."""

    exit_code = 3
