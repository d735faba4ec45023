"""The wire contract: the input (checkpoints) and the output (ready events)."""
