"""Tests of consumer.jobs."""
