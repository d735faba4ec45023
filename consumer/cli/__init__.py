"""The command line: one module for each command."""

from consumer.cli.main import main

__all__ = ["main"]
