"""The tests: unit and property tests of the pure parts, integration tests on a real broker."""
