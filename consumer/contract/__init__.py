"""The wire contract in standard formats: JSON Schema of each message, and an AsyncAPI document.

Both are made from the structs of `schemas`. The start of the service does not import this package:
the command `schema` and the first request for a schema do.
"""
