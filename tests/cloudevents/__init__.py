"""CloudEvents in both directions, with the official SDKs for Python, JavaScript and Java."""
