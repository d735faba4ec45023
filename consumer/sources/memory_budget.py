"""Bounds the memory of bodies that are being received, and of records without acknowledgement."""


class MemoryBudget:
    """Counts reserved bytes up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def reserve(self, size_bytes: int) -> bool:
        """Reserve the bytes; return whether there was room for them."""
        if self.used_bytes + size_bytes > self._limit_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Give reserved bytes back."""
        self.used_bytes -= size_bytes
