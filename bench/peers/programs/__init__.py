"""The contenders in Python. Each is a program: `python -m bench.peers.programs.NAME JOB`.

JOB is a `Job` as JSON. The peers run in an environment of their own (`bench.peers.environment`), so
these modules import only `consumer.pipeline` of this project.
"""
