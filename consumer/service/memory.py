"""Keeps a bounded part of the freed memory in the process, for the next transaction."""

from typing import Final

# A transaction of the default size allocates about 20 MB. An arena of CPython 3.11 has 1 MiB.
KEPT_ARENAS: Final = 32
KEPT_MALLOC_BYTES: Final = 32 * 1024 * 1024


def keep_freed_memory() -> None:
    """Keep up to 64 MiB of freed memory; do nothing if the C module was not built."""
    try:
        from consumer.service import _memory  # noqa: PLC0415 - it may not exist
    except ImportError:
        return
    _memory.keep_freed_memory(KEPT_ARENAS, KEPT_MALLOC_BYTES)
