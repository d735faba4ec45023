"""Benchmarks, which ``make bench`` runs. They are no part of the tests."""
