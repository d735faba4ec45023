"""What developers and tests need around the service: a local Kafka, the demo, sample events."""
