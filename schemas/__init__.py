"""The wire contract: what comes in (checkpoints) and what goes out (ready events)."""
