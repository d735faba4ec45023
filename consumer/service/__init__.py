"""Where the engine lives: process, signals, logs."""
