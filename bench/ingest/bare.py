"""A handler that reads the body and answers: `python -m bench.ingest.bare PORT`.

It runs on the server of `checkpoint-ready ingest`. So the difference between the
two is what the receiver itself does.
"""

import asyncio
import signal
import sys
from typing import Any, Final, cast

from consumer.service.http import listen
from consumer.sources.http_server import IngestServer
from consumer.sources.ingest_config import Limits

BODY: Final = b'{"accepted":1}\n'
HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
]


async def answer(_scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - messages of ASGI
    """Read the body and answer 202."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def serve(port: int) -> None:
    """Serve until SIGTERM."""
    shutdown = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, shutdown.set)
    server = IngestServer(cast("Any", answer), listen(port), Limits())
    await server.start()
    await shutdown.wait()
    await server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
