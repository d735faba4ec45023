"""Jobs that read history and write records again: replay, backfill and redrive."""
