"""The wire contract from outside: documents, validators, generated types, compatibility."""
