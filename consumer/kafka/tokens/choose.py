"""Chooses the source of the tokens by the settings."""

from consumer.config import Settings
from consumer.kafka.tokens.cloud import aws_tokens, azure_tokens, google_tokens
from consumer.kafka.tokens.custom import CustomTokens
from consumer.kafka.tokens.files import FileToken
from consumer.kafka.tokens.oidc import OidcTokens, proof_of
from consumer.kafka.tokens.shared import SharedToken
from consumer.kafka.tokens.token import TokenSource


def source_of(settings: Settings) -> TokenSource:
    """Return the source that `SASL_OAUTHBEARER_PROVIDER` names.

    Raises:
        ConfigError: an extra is missing, or a key or a class cannot be used.
    """
    provider = settings.sasl_oauthbearer_provider
    if provider == "file":
        return FileToken(settings.sasl_oauthbearer_token_file)
    if ":" in provider:
        return CustomTokens(provider)
    if provider == "aws_msk_iam":
        return SharedToken(aws_tokens(settings).fetch)
    if provider == "azure":
        return SharedToken(azure_tokens(settings).fetch)
    if provider == "gcp":
        return SharedToken(google_tokens().fetch)
    return SharedToken(OidcTokens(settings, proof_of(settings)).fetch)
