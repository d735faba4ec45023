"""The login of a run: settings of brokers and services, and the faults of the token endpoint."""

from __future__ import annotations

import threading
from base64 import b64encode
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest

from tests.chaos.sasl import Login, LoginOrder, Mechanism
from tests.support.token_server import CLIENT_ID, CLIENT_SECRET, TokenServer
from tests.support.waiting import wait_until

REQUEST_SECONDS = 20.0
ORDERS = [LoginOrder(mechanism) for mechanism in Mechanism]


def ask(server: TokenServer, method: str = "POST", path: str = "/token") -> int:
    """Request a token, or something else, and return the status of the answer."""
    host = server.origin.removeprefix("http://")
    connection = HTTPConnection(host, timeout=REQUEST_SECONDS)
    with closing(connection):
        form = urlencode({"grant_type": "client_credentials"})
        basic = b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        connection.request(method, path, form, {"Authorization": f"Basic {basic}"})
        return connection.getresponse().status


@pytest.mark.parametrize("order", ORDERS, ids=list(Mechanism))
def test_services_use_what_the_brokers_accept(order: LoginOrder) -> None:
    """Both sides have the same mechanism, on each listener, and sessions end."""
    with Login(order) as login:
        settings = login.broker_settings(["PLACE1", "PLACE2"])
        assert settings["connections.max.reauth.ms"] == str(int(order.reauth_seconds * 1000))
        mechanism = login.service_settings()["SASL_MECHANISM"]
        assert mechanism.lower() == order.mechanism
        for listener in ("place1", "place2"):
            prefix = f"listener.name.{listener}"
            assert settings[f"{prefix}.sasl.enabled.mechanisms"] == mechanism
            assert f"{prefix}.{mechanism.lower()}.sasl.jaas.config" in settings
        assert (login.tokens is not None) is order.has_tokens
        assert bool(login.java_options()) is order.has_tokens


def test_a_token_endpoint_that_is_down_serves_again() -> None:
    """Meanwhile it answers 503."""
    with TokenServer() as server:
        with server.down():
            assert ask(server) == HTTPStatus.SERVICE_UNAVAILABLE
        assert ask(server) == HTTPStatus.OK
        assert len(server.tokens) == 1


def test_a_token_endpoint_that_hangs_answers_late() -> None:
    """Meanwhile it answers nothing; the keys are there for a broker that starts."""
    answers: list[int] = []
    with TokenServer() as server:
        with server.hanging():
            asking = threading.Thread(target=lambda: answers.append(ask(server)), daemon=True)
            asking.start()
            wait_until(lambda: server.requests, what="the request")
            assert ask(server, "GET", "/jwks") == HTTPStatus.OK
            assert answers == []
        asking.join(REQUEST_SECONDS)
        assert answers == [HTTPStatus.OK]
