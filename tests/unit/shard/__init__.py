"""Tests of consumer.shard."""
