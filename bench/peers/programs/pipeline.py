"""A limit: decode, deduplicate and enrich in memory, without Kafka. Prints the figures as JSON."""

import sys

import msgspec

from bench.decide import measure_decide

if __name__ == "__main__":
    print(msgspec.json.encode(measure_decide(events=int(sys.argv[1]))).decode())
