"""Programs of a subscriber. They run in the environment of `requirements/schema-tools.txt`."""
