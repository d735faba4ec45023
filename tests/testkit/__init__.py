"""The test kit for subscribers, compared with the service."""
