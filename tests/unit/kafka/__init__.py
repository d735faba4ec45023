"""Tests of consumer.kafka."""
