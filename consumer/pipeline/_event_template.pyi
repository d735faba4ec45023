# ruff: noqa: PYI021 - the interface of the C module is described here
"""Fills the JSON text of ready events in C. ``event_template.py`` uses it where it was built."""

from typing import final

@final
class Template:
    """Literal parts of a text, with one slot between each two of them.

    Raises:
        TypeError, ValueError: the parts or the slots are not such a text.
    """

    def __new__(cls, literals: tuple[bytes, ...], slots: tuple[int, ...]) -> Template: ...
    def fill(
        self,
        checkpoint_id: str,
        job_id: str,
        created_at: int,
        model_name: str,
        canonical: bytes,
        evaluation: bytes,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        /,
    ) -> bytes | None:
        """Return the text, or None if an argument is unusual. Then the caller must use msgspec.

        Usual are strings that JSON writes without an escape, a job id that a URI holds as it is,
        and a model name of OpenAI of at most 512 characters that cannot be one of Mistral.
        """
