"""The IncrementalAlterConfigs request (API key 44, KIP-339) as a dry run, which changes nothing.

aiokafka does not have this request. Its AlterConfigs request replaces all settings of a topic.
"""

from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

API_KEY_INCREMENTAL_ALTER_CONFIGS: Final = 44
_TOPIC: Final = 2
_SET: Final = 0
_DRY_RUN: Final = True


class IncrementalAlterConfigsResponse_v0(Response):  # noqa: N801 - as the library names such classes
    """One error for each resource."""

    API_KEY = API_KEY_INCREMENTAL_ALTER_CONFIGS
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class IncrementalAlterConfigsRequest_v0(RequestStruct):  # noqa: N801 - the same
    """Change some settings of a resource; needs the ACL AlterConfigs on it."""

    API_KEY = API_KEY_INCREMENTAL_ALTER_CONFIGS
    API_VERSION = 0
    RESPONSE_TYPE = IncrementalAlterConfigsResponse_v0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class ConfigDryRunRequest(Request[IncrementalAlterConfigsRequest_v0]):
    """Ask whether the brokers would accept a setting of a topic."""

    API_KEY = API_KEY_INCREMENTAL_ALTER_CONFIGS

    def __init__(self, topic: str, setting: str, value: str) -> None:
        self._resource = (_TOPIC, topic, [(setting, _SET, value)])

    def build(
        self, request_struct_class: type[IncrementalAlterConfigsRequest_v0]
    ) -> IncrementalAlterConfigsRequest_v0:
        """Return the request in this version."""
        return request_struct_class([self._resource], _DRY_RUN)


def outcome_of(response: Any) -> tuple[int, str]:  # noqa: ANN401 - the library is untyped
    """Return error code and message of the only resource."""
    ((error_code, message, _, _),) = response.responses
    return int(error_code), str(message or "")
