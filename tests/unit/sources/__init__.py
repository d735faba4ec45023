"""Unit tests of the bridges."""
