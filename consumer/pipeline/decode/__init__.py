"""Decodes a record's bytes into one checkpoint, whatever the spelling and the envelope."""
