"""Unit tests of the service."""
