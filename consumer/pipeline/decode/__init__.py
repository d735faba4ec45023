"""Decodes the bytes of a record into one checkpoint, for every accepted spelling and envelope."""
