"""Programs that tests of the examples run in environments of their own."""
