"""Compares this service with its peers on one local broker: `make bench ARGS=peers`.

contenders/   how each contender starts, and what it guarantees
programs/     the contenders in Python; kafka_streams/ is the one in Java
backlog       fills the inputs
broker        the local broker, and which cores it and the contenders use
sampling      CPU time, memory and progress of a running contender
verification  reads the output of a run: each id once?
throughput    runs the contenders on a backlog, in rounds
latency       runs them on steady streams
growth        this service with a million and ten million ids in memory
report        medians, ratios, and the table of docs/performance.md
plot          the plot, drawn by the environment of the Python peers
"""
