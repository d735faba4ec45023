"""Tokens of files, of classes of the user, and of the libraries of clouds."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import sys
import time
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from consumer.config import PREFIX, Settings
from consumer.errors import ConfigError
from consumer.kafka.client.private_connection import BrokerConnection
from consumer.kafka.client.token_provider import NoToken, TokenLoginRefused, TokenProvider
from consumer.kafka.tokens import TokenRefused, TokenUnavailable, custom, source_of
from consumer.kafka.tokens.cloud import GOOGLE_SCOPE
from consumer.kafka.tokens.token import claims

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = f"{__name__}:"
# An address of a cluster of MSK.
MSK = "b-1.events.abc123.c2.kafka.eu-west-1.amazonaws.com:9098"
SERVERLESS = "boot-abc.c1.kafka-serverless.ap-southeast-2.amazonaws.com:9098"


def settings(provider: str, **variables: object) -> Settings:
    """Return settings with this provider."""
    every = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "OAUTHBEARER",
        "SASL_OAUTHBEARER_PROVIDER": provider,
        **variables,
    }
    return Settings.load({PREFIX + name: str(value) for name, value in every.items()})


class Numbered:
    """A class of a user."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.calls = 0

    async def token(self) -> str:
        """Return the next token."""
        self.calls += 1
        return f"own-{self.calls}"

    def extensions(self) -> dict[str, str]:
        """Return one extension."""
        return {"pool": "own", "cluster": "own"}


class Failing:
    """A class whose token fails with a text that contains a token."""

    async def token(self) -> str:
        """Fail."""
        raise RuntimeError("no token: eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl")


class Talkative:
    """A class that puts its options into its errors."""

    async def token(self) -> str:
        """Fail with the value of an option."""
        raise RuntimeError(f"login refused for {os.environ['OWN_OPTION']}")


class Cancelling:
    """A class that cancels itself, as a cancelled task in it does."""

    async def token(self) -> str:
        """Cancel."""
        raise asyncio.CancelledError


class Hanging:
    """A class that never returns."""

    async def token(self) -> str:
        """Wait for nothing."""
        await asyncio.Event().wait()
        return ""


class Returning:
    """A class that returns what a test says."""

    result: object = "token"
    found: object = None

    async def token(self) -> object:
        """Return it."""
        return self.result

    def extensions(self) -> object:
        """Return it, or raise it."""
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class WithAsyncExtensions:
    """A class whose extensions would need a loop."""

    async def token(self) -> str:
        """Return a token."""
        return "token"

    async def extensions(self) -> dict[str, str]:
        """Return none."""
        return {}


class WithoutToken:
    """A class without the method."""


async def test_a_class_of_the_user_is_called_for_each_login() -> None:
    """Its extensions are sent with those of the settings, which come first."""
    loaded = settings(CLASSES + "Numbered", SASL_OAUTHBEARER_EXTENSIONS="cluster=lkc-1")
    provider = TokenProvider.of(loaded)
    assert [await provider.token(), await provider.token()] == ["own-1", "own-2"]
    assert provider.extensions() == {"pool": "own", "cluster": "lkc-1"}


async def test_an_error_of_a_class_of_the_user_shows_no_token() -> None:
    """The kind of the error, and its text without what looks like a token."""
    provider = TokenProvider.of(settings(CLASSES + "Failing"))
    with pytest.raises(NoToken, match=r"RuntimeError: no token: \*{8}$"):
        await provider.token()


async def test_no_error_shows_an_option_of_a_class_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every variable may be one, and what looks like no token may be a secret."""
    monkeypatch.setenv("OWN_OPTION", "open sesame")
    provider = TokenProvider.of(settings(CLASSES + "Talkative"))
    with pytest.raises(NoToken, match=r"RuntimeError: login refused for \*{8}$"):
        await provider.token()


async def test_a_class_of_the_user_that_cancels_itself() -> None:
    """The task of the caller is not cancelled."""
    with pytest.raises(NoToken, match=r"no token of .*: CancelledError"):
        await TokenProvider.of(settings(CLASSES + "Cancelling")).token()


async def test_a_class_of_the_user_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and the next login asks again."""
    monkeypatch.setattr(custom, "TOKEN_SECONDS", 0.05)
    provider = TokenProvider.of(settings(CLASSES + "Hanging"))
    for _ in range(2):
        with pytest.raises(NoToken, match=r"Hanging: no token within 0\.05 s"):
            await provider.token()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, r"token\(\) returned NoneType instead of str"),
        (b"secret", r"token\(\) returned bytes instead of str"),
        ("", "the token is empty"),
        ("se cret", "characters that a token cannot have"),
    ],
)
async def test_a_class_of_the_user_that_returns_no_token(
    monkeypatch: pytest.MonkeyPatch, result: object, words: str
) -> None:
    """It was sent as text before. An operator must correct the class."""
    monkeypatch.setattr(Returning, "result", result)
    with pytest.raises(TokenLoginRefused, match=f"{CLASSES}Returning: .*{words}") as caught:
        await TokenProvider.of(settings(CLASSES + "Returning")).token()
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([("pool", "a")], "list instead of dict"),
        ("pool", "str instead of dict"),
        ({1: "a"}, "int as a name"),
        ({"pool-1": "a"}, "a name with other characters than letters"),
        ({"": "a"}, "a name with other characters than letters"),
        ({"auth": "Bearer secret"}, "the name auth, which is reserved"),
        ({"pool": None}, "NoneType instead of str for pool"),
        ({"pool": ""}, "for pool no text"),
        ({"pool": "secret\x01auth=Bearer other"}, "for pool no text, or characters"),
        ({"pool": "s\u00e9cret"}, "for pool no text, or characters"),
    ],
)
async def test_extensions_that_cannot_be_sent(
    monkeypatch: pytest.MonkeyPatch, found: object, words: str
) -> None:
    """The rules are those of RFC 7628 and of the broker. The line shows no value."""
    monkeypatch.setattr(Returning, "found", found)
    with pytest.raises(
        TokenLoginRefused, match=rf"extensions\(\) returned .*{words}.*correct the class"
    ) as caught:
        await TokenProvider.of(settings(CLASSES + "Returning")).token()
    assert "cret" not in str(caught.value)


async def test_extensions_that_fail_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The login fails before it begins, with a clear line, and the next one succeeds."""
    provider = TokenProvider.of(settings(CLASSES + "Returning"))
    monkeypatch.setattr(Returning, "found", ValueError("secret=hunter"))
    with pytest.raises(NoToken, match=r"no SASL extensions of .*: ValueError: secret=\*{8}$"):
        await provider.token()
    for found, expected in ((None, {}), ({"pool": "a b"}, {"pool": "a b"})):
        monkeypatch.setattr(Returning, "found", found)
        assert await provider.token() == "token"
        assert provider.extensions() == expected


async def test_a_connection_goes_on_when_extensions_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewed login that has none is tried again later, on the open connection."""
    provider = TokenProvider.of(settings(CLASSES + "Returning"))
    connection = BrokerConnection("127.0.0.1", 1)
    monkeypatch.setattr(connection, "_sasl_oauth_token_provider", provider)
    monkeypatch.setattr(connection, "_session_ends_at", time.monotonic() + 60)
    pauses: list[float] = []
    monkeypatch.setattr(connection, "_log_in_after", pauses.append)
    monkeypatch.setattr(Returning, "found", {"auth": "x"})
    await connection._log_in_again()  # noqa: SLF001 - as its timer does
    assert pauses == [pytest.approx(10.0, abs=5)]
    assert connection._closed_fut is None  # noqa: SLF001 - it was not closed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (CLASSES + "WithAsyncExtensions", "must be a method `def extensions"),
        ("no_such_module:Class", "ModuleNotFoundError"),
        (CLASSES + "NoSuchClass", "AttributeError"),
        (CLASSES + "WithoutToken", "no method `async def token"),
    ],
)
def test_a_class_that_cannot_be_used(name: str, words: str) -> None:
    """It is an error of the configuration."""
    with pytest.raises(ConfigError, match=f"SASL_OAUTHBEARER_PROVIDER={name}: .*{words}"):
        source_of(settings(name))


async def test_a_token_file_is_read_for_each_login(tmp_path: Path) -> None:
    """A missing file may be in the middle of a replacement; other content is refused."""
    file = tmp_path / "token"
    file.write_text("first\n")
    provider = TokenProvider.of(settings("file", SASL_OAUTHBEARER_TOKEN_FILE=file))
    assert await provider.token() == "first"
    file.write_text("second")
    assert await provider.token() == "second"
    file.write_text("two words")
    with pytest.raises(TokenLoginRefused, match="characters that a token cannot have"):
        await provider.token()
    file.write_bytes(b"x" * 70_000)
    with pytest.raises(TokenLoginRefused, match="more than 65536 bytes"):
        await provider.token()
    file.unlink()
    with pytest.raises(NoToken, match=f"cannot read the token file {file}: No such file"):
        await provider.token()


def install(monkeypatch: pytest.MonkeyPatch, **modules: Any) -> None:  # noqa: ANN401 - any module
    """Make modules importable, `a__b` as a.b, instead of the libraries of the clouds."""
    for name, attributes in modules.items():
        module = types.ModuleType(name.replace("__", "."))
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name.replace("__", "."), module)


class Signer:
    """The function of the signer of MSK IAM."""

    def __init__(self) -> None:
        """Begin without a call."""
        self.regions: list[str] = []

    def generate_auth_token(self, region: str) -> tuple[str, int]:
        """Return a token, and its end (ms)."""
        self.regions.append(region)
        return "signed", int((time.time() + 900) * 1000)


def install_signer(monkeypatch: pytest.MonkeyPatch, signer: Signer) -> None:
    """Make the signer importable."""
    install(
        monkeypatch,
        aws_msk_iam_sasl_signer={},
        aws_msk_iam_sasl_signer__MSKAuthTokenProvider={
            "generate_auth_token": signer.generate_auth_token
        },
    )


@pytest.mark.parametrize(
    ("servers", "variable", "region"),
    [
        (MSK, "us-east-1", "eu-west-1"),
        (SERVERLESS, "", "ap-southeast-2"),
        ("kafka.internal:9098", "us-east-1", "us-east-1"),
    ],
)
async def test_msk_iam(
    monkeypatch: pytest.MonkeyPatch, servers: str, variable: str, region: str
) -> None:
    """The signer gets the region of the brokers' name, or of AWS_REGION."""
    signer = Signer()
    install_signer(monkeypatch, signer)
    monkeypatch.setenv("AWS_REGION", variable)
    assert await source_of(settings("aws_msk_iam", BOOTSTRAP_SERVERS=servers)).value() == "signed"
    assert signer.regions == [region]


def test_msk_iam_without_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to set."""
    install_signer(monkeypatch, Signer())
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ConfigError, match="set AWS_REGION"):
        source_of(settings("aws_msk_iam"))


class AccessToken(NamedTuple):
    """What azure-identity returns."""

    token: str
    expires_on: int


async def test_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default credential is asked for the scope."""
    asked: list[tuple[str, ...]] = []

    class DefaultAzureCredential:
        def get_token(self, *scopes: str) -> AccessToken:
            asked.append(scopes)
            return AccessToken("entra", int(time.time()) + 3600)

    install(
        monkeypatch, azure={}, azure__identity={"DefaultAzureCredential": DefaultAzureCredential}
    )
    scope = "https://events.servicebus.windows.net/.default"
    source = source_of(settings("azure", SASL_OAUTHBEARER_SCOPE=scope))
    assert [await source.value(), await source.value()] == ["entra", "entra"]
    assert asked == [(scope,)]


async def test_azure_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first words of the library's error say what is missing."""

    class DefaultAzureCredential:
        def get_token(self, *_: str) -> AccessToken:
            raise ValueError("DefaultAzureCredential failed\nto retrieve a token")

    install(
        monkeypatch, azure={}, azure__identity={"DefaultAzureCredential": DefaultAzureCredential}
    )
    source = source_of(settings("azure", SASL_OAUTHBEARER_SCOPE="s"))
    with pytest.raises(TokenUnavailable, match="no token of Azure: ValueError: DefaultAzureCred"):
        await source.value()


class GoogleCredentials:
    """Credentials of google-auth."""

    token = ""
    expiry = dt.datetime(2000, 1, 1)  # noqa: DTZ001 - google-auth has no time zone either
    service_account_email: str | None = "service@project.iam"

    def refresh(self, _: object) -> None:
        """Get a token."""
        self.token = "ya29.access"
        self.expiry = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).replace(tzinfo=None)


@pytest.mark.parametrize("account", ["service@project.iam", None])
async def test_google(monkeypatch: pytest.MonkeyPatch, account: str | None) -> None:
    """The access token is wrapped in the form that Managed Kafka takes."""
    asked: list[list[str]] = []

    def default(scopes: list[str]) -> tuple[GoogleCredentials, str]:
        asked.append(scopes)
        credentials = GoogleCredentials()
        credentials.service_account_email = account
        return credentials, "project"

    install(
        monkeypatch,
        google={},
        google__auth={"default": default},
        google__auth__transport={},
        google__auth__transport__requests={"Request": object},
    )
    monkeypatch.delenv("GOOGLE_MANAGED_KAFKA_AUTH_PRINCIPAL", raising=False)
    if account is None:
        with pytest.raises(TokenRefused, match="set GOOGLE_MANAGED_KAFKA_AUTH_PRINCIPAL"):
            await source_of(settings("gcp")).value()
        monkeypatch.setenv("GOOGLE_MANAGED_KAFKA_AUTH_PRINCIPAL", "service@project.iam")
    token = await source_of(settings("gcp")).value()
    header, _, access = (base64.urlsafe_b64decode(f"{part}===") for part in token.split("."))
    assert json.loads(header) == {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    assert claims(token)["sub"] == "service@project.iam"
    assert claims(token)["exp"] - claims(token)["iat"] == pytest.approx(3600, abs=5)
    assert access == b"ya29.access"
    assert asked[0] == [GOOGLE_SCOPE]


@pytest.mark.parametrize(
    ("provider", "extra", "module"),
    [
        ("aws_msk_iam", "aws", "aws_msk_iam_sasl_signer"),
        ("azure", "azure", "azure.identity"),
        ("gcp", "gcp", "google.auth"),
    ],
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, provider: str, extra: str, module: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    loaded = settings(provider, BOOTSTRAP_SERVERS=MSK, **scope_of(provider))
    with pytest.raises(ConfigError, match=rf"pip install 'checkpoint-ready\[{extra}\]'"):
        source_of(loaded)


def scope_of(provider: str) -> dict[str, str]:
    """Return the scope that only one provider needs."""
    return {"SASL_OAUTHBEARER_SCOPE": "s"} if provider == "azure" else {}
