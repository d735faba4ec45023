"""The worked examples of the folder examples/, executed."""
