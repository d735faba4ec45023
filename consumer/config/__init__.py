"""The settings: environment variables, read once into a frozen Struct and validated together."""

from consumer.config.parsing import Secret
from consumer.config.settings import Settings
from consumer.config.variables import PREFIX, VARIABLES, Variable, unknown_variables

__all__ = ["PREFIX", "VARIABLES", "Secret", "Settings", "Variable", "unknown_variables"]
