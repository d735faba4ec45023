"""Jobs on the history of the topics: replay, backfill and redrive."""
