"""Second floor: the TFTP server, its client, and the catalog of trust lists and signed files."""


class TftpError(Exception):
    """A TFTP transfer or catalog request that did not end with the content asked for."""

    exit_code = 3
