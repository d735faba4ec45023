"""The refusals of a request, as problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

PROBLEM_CONTENT_TYPE: Final = "application/problem+json"


class Refusal(Exception):
    """A request that is not accepted. Nothing of it was acknowledged."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **members: Any,  # noqa: ANN401 - any JSON
    ) -> None:
        """Store the answer; `members` are extension members of the problem details."""
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document = {
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            **members,
        }


def unauthorized() -> Refusal:
    """Return the answer to a missing or wrong token or signature. It does not say what is wrong."""
    return Refusal(
        HTTPStatus.UNAUTHORIZED,
        "the token or the signature of the request is missing, wrong or too old",
        headers={"WWW-Authenticate": "Bearer"},
    )


def unavailable(detail: str, retry_after_seconds: int) -> Refusal:
    """Return the answer when Kafka or memory is not available. The sender must try again."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_after_seconds)}
    )


def large_head(limit_bytes: int) -> str:
    """Return the detail of a refusal with status 431."""
    return f"the request line and the headers have more than {limit_bytes} bytes"


def too_large(detail: str) -> Refusal:
    """Return the answer to a body that exceeds a limit."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
