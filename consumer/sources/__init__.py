"""Bridges that bring checkpoints from other systems into an input topic.

A bridge is stateless and may send a checkpoint again: the service deduplicates by id.
"""
