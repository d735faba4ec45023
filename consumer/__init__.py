"""checkpoint-ready: publishes exactly one event for each fine-tuned model checkpoint."""

__version__ = "0.1.0"
