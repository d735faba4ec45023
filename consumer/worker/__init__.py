"""One process: which shards run here, and how they are watched."""
