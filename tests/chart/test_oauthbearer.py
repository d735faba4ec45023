"""The login by token: settings, files, the projected token, and values that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.config import PREFIX
from tests.chart.rendering import Refused, Rendering, render, render_case

FOLDER = "/etc/checkpoint-ready/sasl"
PREFIXES = f"{PREFIX}SASL_OAUTHBEARER_"
OIDC = {"tokenEndpointUrl": "https://login.example/token", "clientId": "service"}
SECRET = {"clientSecret": {"secret": "login", "key": "password"}}
ACCOUNT = {"serviceAccount": {"create": False, "name": "mine"}}


def rendered(oauthbearer: dict[str, Any], **values: Any) -> Rendering:  # noqa: ANN401 - values of a chart are any
    """Render a login by token."""
    return render(**{"kafka": kafka(oauthbearer), **values})


def kafka(oauthbearer: dict[str, Any], **sasl: object) -> dict[str, Any]:
    """Return the values of the connection."""
    return {
        "bootstrapServers": "kafka:9094",
        "securityProtocol": "SASL_SSL",
        "sasl": {"mechanism": "OAUTHBEARER", "oauthbearer": oauthbearer, **sasl},
    }


def token_settings(found: Rendering) -> dict[str, str]:
    """Return the settings of the login by token, without their prefix."""
    return {
        name.removeprefix(PREFIXES): value
        for name, value in found.settings().items()
        if name.startswith(PREFIXES)
    }


def sources(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources of the volume of the login."""
    volumes = [it for it in pod["volumes"] if it["name"] == "sasl"]
    return [source for it in volumes for source in it["projected"]["sources"]]


def test_a_client_secret_is_a_file() -> None:
    """It comes from an existing Secret, and is in no setting."""
    found = rendered({**OIDC, **SECRET, "scope": "kafka", "headerUrlencode": True})
    assert token_settings(found) == {
        "PROVIDER": "oidc",
        "TOKEN_ENDPOINT_URL": "https://login.example/token",
        "CLIENT_CREDENTIALS_CLIENT_ID": "service",
        "CLIENT_CREDENTIALS_CLIENT_SECRET_FILE": f"{FOLDER}/client-secret",
        "HEADER_URLENCODE": "true",
        "SCOPE": "kafka",
    }
    assert f"{PREFIX}SASL_PASSWORD_FILE" not in found.settings()
    assert not found.all("Secret")
    for _, pod in found.pods():
        assert sources(pod) == [
            {"secret": {"name": "login", "items": [{"key": "password", "path": "client-secret"}]}}
        ]


def test_a_private_key_is_a_file() -> None:
    """The settings name it, and its algorithm."""
    found = token_settings(
        rendered({**OIDC, "privateKey": {"secret": "login"}, "assertionKeyId": "k"})
    )
    assert found["ASSERTION_PRIVATE_KEY_FILE"] == f"{FOLDER}/private-key.pem"
    assert (found["ASSERTION_ALGORITHM"], found["ASSERTION_KEY_ID"]) == ("RS256", "k")


def test_the_token_of_the_service_account_is_projected() -> None:
    """Into every pod: service, replay, receiver, Job and test; no other token is mounted."""
    found = render_case("oauthbearer")
    assert token_settings(found)["ASSERTION_FILE"] == f"{FOLDER}/token"
    assert (
        token_settings(found)["EXTENSIONS"] == "identityPoolId=pool-xyz9,logicalCluster=lkc-abc12"
    )
    pods = found.pods()
    assert len(pods) == 5
    for _, pod in pods:
        assert {
            "serviceAccountToken": {
                "audience": "https://login.example:8443/realms/events",
                "expirationSeconds": 3600,
                "path": "token",
            }
        } in sources(pod)
        assert pod["serviceAccountName"] == "kafka-login"
        assert pod["automountServiceAccountToken"] is False


def test_the_token_itself_for_the_brokers() -> None:
    """With the provider `file` no token endpoint is needed."""
    token = {"provider": "file", "serviceAccountToken": {"audience": "kafka"}}
    found = rendered(token, **ACCOUNT)
    assert token_settings(found) == {"PROVIDER": "file", "TOKEN_FILE": f"{FOLDER}/token"}


@pytest.mark.parametrize("provider", ["aws_msk_iam", "gcp", "mine.tokens:Tokens"])
def test_a_library_needs_no_volume(provider: str) -> None:
    """It finds its credentials by itself."""
    found = rendered({"provider": provider}, **ACCOUNT)
    assert token_settings(found) == {"PROVIDER": provider}
    for _, pod in found.pods():
        assert sources(pod) == []
        assert "sasl" not in {it["name"] for it in pod["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize(
    ("oauthbearer", "ports"),
    [
        ({**OIDC, **SECRET}, [443]),
        ({**OIDC, **SECRET, "tokenEndpointUrl": "http://login:8080/token"}, [8080]),
        ({**OIDC, **SECRET, "tokenEndpointUrl": "http://login/token"}, [80]),
        ({"provider": "gcp"}, [443, 80]),
    ],
)
def test_the_network_policy_allows_the_token_endpoint(
    oauthbearer: dict[str, Any], ports: list[int]
) -> None:
    """Beside DNS and the brokers."""
    found = rendered(oauthbearer, networkPolicy={"enabled": True}, **ACCOUNT)
    for policy in found.all("NetworkPolicy"):
        rules = [[it["port"] for it in rule["ports"]] for rule in policy["spec"]["egress"]]
        assert ports in rules


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kafka": kafka({})}, "provider oidc needs kafka.sasl.oauthbearer.tokenEndpointUrl"),
        ({"kafka": kafka(OIDC)}, "needs exactly one of clientSecret.secret"),
        (
            {"kafka": kafka({**OIDC, **SECRET, "privateKey": {"secret": "k"}})},
            "serviceAccountToken.audience, not 2 of them",
        ),
        (
            {"kafka": kafka({**OIDC, **SECRET, "assertionKeyId": "k"})},
            "no effect without privateKey",
        ),
        ({"kafka": kafka({"provider": "file"}), **ACCOUNT}, "set serviceAccountToken.audience"),
        ({"kafka": kafka({"provider": "azure"}), **ACCOUNT}, "needs kafka.sasl.oauthbearer.scope"),
        (
            {"kafka": kafka({"provider": "gcp", "scope": "x"}), **ACCOUNT},
            "kafka.sasl.oauthbearer.scope has no effect with provider gcp",
        ),
        (
            {"kafka": kafka({"provider": "gcp", **SECRET}), **ACCOUNT},
            "kafka.sasl.oauthbearer.clientSecret has no effect with provider gcp",
        ),
        (
            {"kafka": kafka({"provider": "gcp"})},
            "the login by token depends on the service account",
        ),
        (
            {"kafka": kafka({**OIDC, **SECRET}, username="ada")},
            "leave kafka.sasl.username, password and existingSecret empty",
        ),
        (
            {"kafka": kafka({**OIDC, **SECRET}), "shards": 3, "keda": {"enabled": True}},
            "the chart cannot give KEDA a login by token",
        ),
        (
            {
                "kafka": kafka({**OIDC, **SECRET}),
                "replay": {"enabled": True, "existingSecret": "other"},
            },
            "replay.existingSecret has no effect with kafka.sasl.mechanism OAUTHBEARER",
        ),
        (
            {"kafka": kafka({**OIDC, **SECRET}), "poll": {"kafka": {"existingSecret": "other"}}},
            "poll.kafka.existingSecret has no effect with kafka.sasl.mechanism OAUTHBEARER",
        ),
        ({"kafka": kafka({"provider": "other"})}, "oauthbearer"),
        ({"kafka": kafka({**OIDC, **SECRET, "extensions": {"a": "1,b=2"}})}, "extensions"),
    ],
)
def test_contradictory_values_are_refused(values: dict[str, Any], words: str) -> None:
    """The message says what to change."""
    if "poll" in values:
        values["poll"]["enabled"] = True
    with pytest.raises(Refused) as caught:
        render(**values)
    assert words in str(caught.value)
