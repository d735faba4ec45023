"""Faults on a running service, and an independent checker of what became of its promise."""
