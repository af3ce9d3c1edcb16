"""The TFTP suite: all its checks, those that wait longest first."""

from lab.conformance import tftp_hostile, tftp_options, tftp_transfers

CHECKS = (*tftp_transfers.CHECKS, *tftp_options.CHECKS, *tftp_hostile.CHECKS)
