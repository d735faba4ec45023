"""The service process around the engine: signals, logs, health, metrics, status page, traces."""
