"""An explicit-state model of the exactly-once protocol: every order of its steps, searched."""
