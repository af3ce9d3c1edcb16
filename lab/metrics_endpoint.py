"""The endpoint that Prometheus scrapes: one page, on hypercorn."""

import socket
from collections.abc import Callable

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lab.metrics import CONTENT_TYPE

DRAIN_SECONDS = 1.0


async def serve_metrics(
    listening: socket.socket,
    *,
    text: Callable[[], bytes],
    stop: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer ``/metrics`` with ``text()`` on a listening socket, which is owned, until ``stop``."""

    async def metrics(_: Request) -> Response:
        return Response(text(), headers={"Content-Type": CONTENT_TYPE})

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = DRAIN_SECONDS
    app = Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])
    await serve(
        app,  # type: ignore[arg-type]  # hypercorn's own types know no Starlette
        config,
        shutdown_trigger=stop.wait,
        task_status=task_status,
    )
