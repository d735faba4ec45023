"""Backfill: writes checkpoints from a file to an input topic."""
