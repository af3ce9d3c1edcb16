"""Content that takes time is made in threads, a few for each service."""

import trio

from tftp import TftpError
from tftp.content import Content, ErrorReply, Later
from tftp.packets import ErrorCode

THREADS = 2


def threads() -> trio.CapacityLimiter:
    """Those of a service."""
    return trio.CapacityLimiter(THREADS)


async def made(later: Later, limiter: trio.CapacityLimiter) -> Content | ErrorReply:
    """What ``later`` makes, in a thread; an ErrorReply also for what cannot be made."""
    try:
        return await trio.to_thread.run_sync(later.make, limiter=limiter)
    except (TftpError, OSError) as error:
        return ErrorReply(ErrorCode.UNDEFINED, f"could not be made: {error}")
