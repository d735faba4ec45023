"""Property tests: what must hold for any records, in any order and cutting."""
