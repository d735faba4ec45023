"""Unit tests: they mirror the packages of the project."""
