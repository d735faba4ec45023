"""checkpoint-ready: says exactly once that a fine-tuned model checkpoint is ready to use."""

__version__ = "0.1.0"
