"""A value that must not be seen."""


class Secret:
    """A value that never shows itself: not in a repr, a log line or a JSON dump."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the client library only."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    @property
    def mask(self) -> str:
        """What may be shown: only whether there is a value."""
        return "********" if self._value else ""

    def __repr__(self) -> str:
        return repr(self.mask)

    __str__ = __repr__
