"""How a decision is made true exactly once: membership, tasks, changelog, transactions."""
