"""Jobs on history: replay, backfill and redrive."""
