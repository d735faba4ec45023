"""Reads the settings from environment variables, once, into a frozen and validated Struct."""

from consumer.config.parsing import Secret
from consumer.config.settings import Settings
from consumer.config.variables import PREFIX, VARIABLES, Variable, unknown_variables

__all__ = ["PREFIX", "VARIABLES", "Secret", "Settings", "Variable", "unknown_variables"]
