"""OpenTelemetry traces of transactions, only if environment variables enable them."""
