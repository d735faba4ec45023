"""Replay: publishes ready events of the past again."""
