"""What is served on HTTP_PORT, path by path."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from consumer import __version__
from consumer.config import Settings
from consumer.engine.view import EngineView
from consumer.service.health import Answer, StartUp, is_alive, is_ready
from consumer.service.http_server import Response
from consumer.service.recent import Recent
from consumer.service.status_page import Status, render_status

HTML: Final = "text/html; charset=utf-8"
# Ids are the producers' words: should one ever get through unescaped, nothing of it runs.
PAGE_HEADERS: Final = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Referrer-Policy", "no-referrer"),
)
Routes = dict[str, Callable[[], Response]]


def make_routes(
    settings: Settings,
    look: Callable[[], EngineView],
    registry: CollectorRegistry,
    recent: Recent,
) -> Routes:
    """Return what answers each path; `look` shows the engine as it is at that moment."""
    start_up = StartUp()

    def page() -> Response:
        view = look()
        status = Status(settings.group_id, __version__, view, is_ready(view), recent)
        return Response(HTTPStatus.OK, render_status(status).encode(), HTML, PAGE_HEADERS)

    def metrics() -> Response:
        return Response(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4)

    return {
        "/": page,
        "/metrics": metrics,
        "/livez": lambda: _health(is_alive(look(), settings.watchdog_seconds)),
        "/readyz": lambda: _health(is_ready(look())),
        "/startupz": lambda: _health(start_up.is_over(look())),
    }


def _health(answer: Answer) -> Response:
    status = HTTPStatus.OK if answer.is_ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, "".join(f"{line}\n" for line in answer.lines).encode())
