"""Benchmarks, which ``make bench`` runs. They are not part of the tests."""
