"""What is decided about each record: pure, with no clock, no network and no logging."""
