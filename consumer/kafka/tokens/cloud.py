"""Tokens of cloud providers, by their own libraries, which are extras: `aws`, `azure`, `gcp`.

Each library finds its credentials by itself (variables, files, metadata server, workload identity).
Its calls block, so they run in a thread.
"""

import base64
import datetime as dt
import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import msgspec

from consumer.config import Settings
from consumer.errors import ConfigError
from consumer.kafka.tokens.masking import masked, secrets_of_process
from consumer.kafka.tokens.threads import SingleThread
from consumer.kafka.tokens.token import Token, TokenRefused, TokenUnavailable

GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
# The variable of Google's own login handlers for credentials that do not name their account.
GOOGLE_PRINCIPAL: Final = "GOOGLE_MANAGED_KAFKA_AUTH_PRINCIPAL"
# Such as b-1.name.abc.c2.kafka.eu-west-1.amazonaws.com and boot-x.c1.kafka-serverless.….
_MSK_REGION: Final = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")
_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


class CloudTokens:
    """Gets tokens from a library of a cloud provider."""

    def __init__(self, name: str, get: Callable[[], Token]) -> None:
        """`name` is for messages. `get` blocks, and raises any exception of its library."""
        self._name = name
        self._get = get
        self._thread = SingleThread(f"token-{name}")

    async def fetch(self) -> Token:
        """Return a new token.

        Raises:
            TokenRefused: the token cannot be used.
            TokenUnavailable: the library has none. Which of its errors are final is not known.
        """
        try:
            return await self._thread.run(self._get)
        except (TokenRefused, TokenUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - any error of the library
            text = f"{type(error).__name__}: {masked(str(error), *secrets_of_process())}"
            raise TokenUnavailable(f"no token of {self._name}: {text}") from None


def aws_tokens(settings: Settings) -> CloudTokens:
    """Return the tokens of MSK IAM: requests that the official signer signs for one region.

    Raises:
        ConfigError: the extra is missing, or the region is not known.
    """
    signer = _imported("aws_msk_iam_sasl_signer.MSKAuthTokenProvider", "aws")
    region = _region(settings.bootstrap_servers)
    # With a role of a web identity (EKS), the name of the session is a part of the principal. The
    # signer starts a session for each token, and brokers refuse another principal on a connection.
    os.environ.setdefault("AWS_ROLE_SESSION_NAME", f"checkpoint-ready-{os.getpid()}")

    def get() -> Token:
        text, expires_ms = signer.generate_auth_token(region)
        return Token.of(text, expires_ms / 1000 - time.time())

    return CloudTokens("AWS", get)


def _region(bootstrap_servers: str) -> str:
    found = _MSK_REGION.search(bootstrap_servers)
    if found is not None:
        return found[1]
    for name in _REGION_VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    raise ConfigError(
        "CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER=aws_msk_iam: the region is not known, because "
        "BOOTSTRAP_SERVERS has no name of MSK: set AWS_REGION"
    )


def azure_tokens(settings: Settings) -> CloudTokens:
    """Return the tokens of Microsoft Entra ID for the scope of the settings.

    Raises:
        ConfigError: the extra is missing.
    """
    credential = _imported("azure.identity", "azure").DefaultAzureCredential()
    scopes = settings.sasl_oauthbearer_scope.split()

    def get() -> Token:
        found = credential.get_token(*scopes)
        return Token.of(found.token, found.expires_on - time.time())

    return CloudTokens("Azure", get)


def google_tokens() -> CloudTokens:
    """Return the tokens of Google's application default credentials, in the form of Managed Kafka.

    The broker takes a JWT whose third part is the access token instead of a signature:
    github.com/googleapis/managedkafka, kafka-auth-local-server.

    Raises:
        ConfigError: the extra is missing.
    """
    auth = _imported("google.auth", "gcp")
    transport = _imported("google.auth.transport.requests", "gcp")

    def get() -> Token:
        credentials, _ = auth.default(scopes=[GOOGLE_SCOPE])
        credentials.refresh(transport.Request())
        expires = credentials.expiry.replace(tzinfo=dt.UTC).timestamp()
        account = getattr(credentials, "service_account_email", None) or os.environ.get(
            GOOGLE_PRINCIPAL
        )
        if not account:
            raise TokenRefused(
                f"the credentials of Google do not name their account: set {GOOGLE_PRINCIPAL}"
            )
        now = time.time()
        claims = {"iss": "Google", "sub": account, "iat": now, "exp": expires}
        header = {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
        parts = (msgspec.json.encode(header), msgspec.json.encode(claims), credentials.token)
        return Token.of(".".join(map(_base64, parts)), expires - now)

    return CloudTokens("Google", get)


def _base64(value: bytes | str) -> str:
    content = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _imported(module: str, extra: str) -> Any:  # noqa: ANN401 - a module that may not be installed
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"CHECKPOINT_READY_SASL_OAUTHBEARER_PROVIDER needs the extra `{extra}`: "
            f"pip install 'checkpoint-ready[{extra}]' ({error.name} is missing)"
        ) from None
