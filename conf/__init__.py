"""Ground floor: settings, their annotated defaults, and the node's identities."""


class ConfError(Exception):
    """Settings or identities that cannot be used; the text names the file and what is wrong."""

    exit_code = 2
