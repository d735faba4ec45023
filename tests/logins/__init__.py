"""The service under a steady load, while its logins end: `python -m tests.logins --help`."""
