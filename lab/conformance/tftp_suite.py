"""The TFTP suite: all its checks, those that wait longest first."""

from lab.conformance import (
    tftp_acknowledgements,
    tftp_extensions,
    tftp_hostile,
    tftp_options,
    tftp_transfers,
)

CHECKS = (
    *tftp_transfers.CHECKS,
    *tftp_acknowledgements.CHECKS,
    *tftp_options.CHECKS,
    *tftp_extensions.CHECKS,
    *tftp_hostile.CHECKS,
)
