"""Poison in bulk: mutated records through the pipeline, judged by a reading of the contract."""
