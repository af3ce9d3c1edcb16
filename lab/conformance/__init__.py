"""Suites that examine any TVS, TFTP server or trust list from outside, check by check.

What they send they build themselves: none of them uses the cores of ``tvs`` and ``tftp``, so that a
fault there cannot hide itself.
"""
