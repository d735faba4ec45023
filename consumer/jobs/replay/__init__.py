"""Publishes ready events of the past again."""
