"""Tools for development and tests: a local Kafka, the demo, tests of chart and image."""
