"""Measures `checkpoint-ready ingest` under load by wrk, beside a handler that only answers."""
