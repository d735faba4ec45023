"""Generates the README's tables of settings from ``consumer.config.VARIABLES``.

`python -m dev.config_table` prints the tables. `python -m dev.config_table README.md` writes them
to the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.config import VARIABLES
from dev.marked_table import MarkedTable, markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.config.variables import Variable

# In the order in which a user needs them. A test checks that every variable is in one group.
GROUPS: Final = {
    "Kafka and topics": (
        "BOOTSTRAP_SERVERS",
        "GROUP_ID",
        "GROUP_INSTANCE_ID",
        "INPUT_TOPICS",
        "OUTPUT_TOPIC",
        "DEAD_LETTER_TOPIC",
        "CREATE_TOPICS",
        "REPARTITION_RETENTION_DAYS",
        "SHARDS",
    ),
    "Security": (
        "SECURITY_PROTOCOL",
        "SASL_MECHANISM",
        "SASL_USERNAME",
        "SASL_PASSWORD",
        "SSL_CAFILE",
        "SSL_CERTFILE",
        "SSL_KEYFILE",
    ),
    "Connections": (
        "CONNECTIONS_MAX_IDLE_MS",
        "TCP_KEEPALIVE_SECONDS",
        "CLIENT_RACK",
    ),
    "OAUTHBEARER": (
        "SASL_OAUTHBEARER_PROVIDER",
        "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL",
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_ID",
        "SASL_OAUTHBEARER_CLIENT_CREDENTIALS_CLIENT_SECRET",
        "SASL_OAUTHBEARER_HEADER_URLENCODE",
        "SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE",
        "SASL_OAUTHBEARER_ASSERTION_ALGORITHM",
        "SASL_OAUTHBEARER_ASSERTION_KEY_ID",
        "SASL_OAUTHBEARER_ASSERTION_CLAIM_AUD",
        "SASL_OAUTHBEARER_ASSERTION_FILE",
        "SASL_OAUTHBEARER_SCOPE",
        "SASL_OAUTHBEARER_AUDIENCE",
        "SASL_OAUTHBEARER_SSL_CAFILE",
        "SASL_OAUTHBEARER_TOKEN_FILE",
        "SASL_OAUTHBEARER_EXTENSIONS",
    ),
    "Deduplication and events": (
        "DEDUP_WINDOW_SECONDS",
        "AUTO_OFFSET_RESET",
        "CLOUDEVENTS_MODE",
        "SCHEMA_GUID",
        "DATASCHEMA",
    ),
    "Dead-letter limit": (
        "DEAD_LETTER_LIMIT_PERCENT",
        "DEAD_LETTER_WINDOW_RECORDS",
    ),
    "HTTP and logs": (
        "HTTP_PORT",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ),
    "Transactions, timing and supervision": (
        "COMMIT_INTERVAL_MS",
        "MAX_TRANSACTION_RECORDS",
        "COMPRESSION_TYPE",
        "TRANSACTION_TIMEOUT_MS",
        "SESSION_TIMEOUT_MS",
        "HEARTBEAT_INTERVAL_MS",
        "DISCOVERY_INTERVAL_MS",
        "TRIM_INTERVAL_MS",
        "WATCHDOG_SECONDS",
    ),
}


def config_table() -> MarkedTable:
    """Return one table for each group. The names do not have the common prefix."""
    variables = {variable.short_name: variable for variable in VARIABLES}
    return MarkedTable(
        holds="settings",
        command="python -m dev.config_table README.md",
        text="\n".join(
            f"**{title}**\n\n{_table([variables[name] for name in names])}"
            for title, names in GROUPS.items()
        ),
    )


def _table(variables: Sequence[Variable]) -> str:
    rows = [
        (
            f"`{variable.short_name}`",
            f"`{variable.default}`" if variable.default else "",
            variable.description.replace("|", "\\|"),
        )
        for variable in variables
    ]
    return markdown(("Variable", "Default", "Meaning"), rows)


if __name__ == "__main__":
    config_table().print_or_write()
