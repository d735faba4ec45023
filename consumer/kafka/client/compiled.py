"""Selects the functions in C for record batches, or the library's where C was not built.

Both give the same records and the same bytes. ``tests/unit/kafka/test_compiled_batches.py``
compares them. Without C the service handles fewer events per second (docs/performance.md).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from consumer.kafka.client import private_api

if TYPE_CHECKING:
    from consumer.kafka.client import _compiled

read_records: "Callable[..., tuple[list[_compiled.Record], int, int]] | None" = None
crc32c: Callable[[bytes, int], int] = private_api.crc32c
new_builder: Callable[[int], private_api.RecordsBuilder] = private_api.LibraryRecordsBuilder


def use(module: Any) -> None:  # noqa: ANN401 - a module, or None
    """Use the functions of the C module; None: those of the library."""
    global read_records, crc32c, new_builder  # noqa: PLW0603 - chosen once, and by tests
    read_records = None if module is None else module.read_records
    crc32c = private_api.crc32c if module is None else module.crc32c
    new_builder = private_api.LibraryRecordsBuilder if module is None else module.BatchBuilder


try:
    from consumer.kafka.client import _compiled
except ImportError:  # no compiler was there when the package was installed
    pass
else:
    use(_compiled)
