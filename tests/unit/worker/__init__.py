"""Tests of consumer.worker."""
