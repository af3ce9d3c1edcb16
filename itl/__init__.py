"""First floor: the file formats (ITL, CTL, signed files): parse, build, sign, verify, show."""


class ItlError(Exception):
    """A document, certificate or build request that the formats do not allow."""

    exit_code = 3
