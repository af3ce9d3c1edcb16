"""What a process sets for itself: the rights of its files, how many it opens, its collector."""

import gc
import resource

PRIVATE_UMASK = 0o077
YOUNG_OBJECTS = 10_000  # allocations between two collections of the youngest generation


def settle() -> None:
    """Leave everything loaded so far out of collections, and collect less often.

    A hundred thousand certificates are walked through at each full collection otherwise, while
    phones wait; connections leave few cycles behind (measured: 3 % more handshakes a second).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 50, 100)


def allow_all_descriptors() -> None:
    """Raise the limit of open files as far as the system lets this user."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
