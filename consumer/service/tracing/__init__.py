"""OpenTelemetry traces of transactions, only where they are configured."""
