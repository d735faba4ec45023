"""The command line: one module for each family of commands."""

from consumer.cli.main import main

__all__ = ["main"]
