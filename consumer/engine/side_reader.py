"""Readers apart from a shard's own: for a look at other offsets while the shard runs on.

Only the shard's loop assigns the shard's reader. Probes, metrics and lag tools ask that reader for
positions at any moment, and it has none of a partition that is not assigned.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from consumer.engine.context import ShardContext
from consumer.engine.kafka import ClusterAdmin, Connection, ShardReader


class SideReaders(msgspec.Struct, frozen=True):
    """Opens readers for one shard, and knows whom to ask about topics."""

    connection: Connection
    admin: ClusterAdmin

    @asynccontextmanager
    async def open(
        self, context: ShardContext, *, committed_only: bool
    ) -> AsyncGenerator[ShardReader, None]:
        """Connect a reader for a moment; without `committed_only` no transaction holds it back.

        Raises:
            TaskFailed, TransientError, ClusterError: it cannot connect.
        """
        reader = ShardReader(
            self.connection,
            f"{context.settings.group_id}-{context.shard}-look",
            topics=context.topology.max_message_bytes,
            max_message_bytes=context.topology.largest_source_bytes,
            committed_only=committed_only,
        )
        try:
            await reader.start()
            yield reader
        finally:
            await reader.close()
