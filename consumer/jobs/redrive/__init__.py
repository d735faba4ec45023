"""Sends dead letters back to the inputs that they came from."""
