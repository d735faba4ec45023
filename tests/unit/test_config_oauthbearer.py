"""The settings of OAUTHBEARER: their values, and combinations that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.test_config import load, problems

if TYPE_CHECKING:
    from pathlib import Path

OAUTHBEARER = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
_ = "sasl_oauthbearer_"
OIDC = {
    **OAUTHBEARER,
    f"{_}token_endpoint_url": "https://login.example/token",
    f"{_}client_credentials_client_id": "service",
    f"{_}client_credentials_client_secret": "s3cret",
}


def test_a_client_with_a_secret() -> None:
    """The provider is `oidc` by default, and the secret is not shown."""
    settings = load(**OIDC, sasl_oauthbearer_extensions="logicalCluster=lkc-1, identityPoolId=p=1")
    assert settings.sasl_oauthbearer_provider == "oidc"
    assert dict(settings.sasl_oauthbearer_extensions) == {
        "logicalCluster": "lkc-1",
        "identityPoolId": "p=1",
    }
    assert settings.sasl_oauthbearer_client_credentials_client_secret.reveal() == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("provider", ["aws_msk_iam", "gcp", "my_package.tokens:Tokens"])
def test_providers_that_need_nothing_else(provider: str) -> None:
    """The library or class finds its credentials by itself."""
    assert load(**OAUTHBEARER, sasl_oauthbearer_provider=provider).sasl_mechanism == "OAUTHBEARER"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({**OIDC, f"{_}token_endpoint_url": ""}, "also needs SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"),
        ({**OIDC, f"{_}client_credentials_client_id": ""}, "CLIENT_CREDENTIALS_CLIENT_ID"),
        ({**OIDC, f"{_}client_credentials_client_secret": ""}, "exactly one of CLIENT_CREDENTIALS"),
        ({**OIDC, f"{_}assertion_file": __file__}, "set is: SASL_OAUTHBEARER_CLIENT_CREDENTIALS_C"),
        ({**OIDC, f"{_}assertion_key_id": "k"}, "no effect without SASL_OAUTHBEARER_ASSERTION_PRI"),
        ({**OIDC, f"{_}ssl_cafile": "/no/where"}, "the file /no/where does not exist"),
        ({**OIDC, f"{_}token_file": __file__}, "no effect with SASL_OAUTHBEARER_PROVIDER=oidc"),
        ({**OIDC, f"{_}provider": "other"}, "must be one of oidc, file, aws_msk_iam, azure, gcp"),
        ({**OIDC, f"{_}extensions": "auth=x"}, "must be name=value"),
        ({**OIDC, f"{_}extensions": "a=1,a=2"}, "contains the same name twice"),
        ({**OIDC, f"{_}token_endpoint_url": "https://me:x@h/"}, "without a user or password"),
        ({**OIDC, "sasl_username": "ada"}, "unset SASL_USERNAME and SASL_PASSWORD"),
        ({**OIDC, "security_protocol": "SSL"}, "set SECURITY_PROTOCOL to SASL_SSL"),
        ({**OAUTHBEARER, f"{_}provider": "file"}, "also needs SASL_OAUTHBEARER_TOKEN_FILE"),
        ({**OAUTHBEARER, f"{_}provider": "azure"}, "also needs SASL_OAUTHBEARER_SCOPE"),
        ({f"{_}scope": "kafka"}, "SASL_OAUTHBEARER_SCOPE: set SASL_MECHANISM to OAUTHBEARER"),
        ({f"{_}extensions": "a=1"}, "EXTENSIONS: set SASL_MECHANISM to OAUTHBEARER to use it"),
    ],
)
def test_each_contradiction_is_one_line(variables: dict[str, str], words: str) -> None:
    """It names the variable and the fix, and shows no secret."""
    (problem,) = problems(**variables)
    assert words in problem
    assert "s3cret" not in problem
    assert "me:x" not in problem


def test_a_file_must_exist(tmp_path: Path) -> None:
    """A token file that is missing is found at the start."""
    token = tmp_path / "token"
    variables = {**OAUTHBEARER, f"{_}provider": "file", f"{_}token_file": str(token)}
    (problem,) = problems(**variables)
    assert problem.endswith(f"SASL_OAUTHBEARER_TOKEN_FILE: the file {token} does not exist")
    token.touch()
    assert load(**variables).sasl_oauthbearer_token_file == str(token)
