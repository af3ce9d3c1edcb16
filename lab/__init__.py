"""The roof: command line, daemon, phone emulator, pre-flight, conformance."""


class LabError(Exception):
    """Something the command line or the daemon cannot do; the text says what and why."""

    exit_code = 3
