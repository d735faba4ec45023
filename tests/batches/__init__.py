"""Record batches of every kind: built by hand, mutated, and judged by the Java client."""
