"""A partition's name. aiokafka insists on its own class; this gives that class its types."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:

    class TopicPartition(NamedTuple):
        """One partition of a topic."""

        topic: str
        partition: int

else:
    from aiokafka.structs import TopicPartition

__all__ = ["TopicPartition"]
