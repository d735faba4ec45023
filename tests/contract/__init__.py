"""The wire contract as subscribers see it: documents, validators, generated types, compatibility."""
