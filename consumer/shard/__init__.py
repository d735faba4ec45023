"""One shard, from its start to its close."""
