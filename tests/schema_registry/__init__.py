"""Records with schema ids, in both directions, with the official client of a schema registry."""
