"""Kafka as this service needs it."""
