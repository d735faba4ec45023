# ruff: noqa: PYI021 - the interface of the C module is described here
"""Keeps freed memory in the process. ``memory.py`` uses this module if it was built."""

def keep_freed_memory(arenas: int, malloc_bytes: int, /) -> None:
    """Keep up to this many free arenas of CPython, and this many free bytes of malloc (glibc).

    Raises:
        ValueError: a number is negative or too large.
    """
