"""Lists the checkpoints of hosted providers and sends them to the input topic.

The poller keeps no state outside its memory and delivers at least once. The service publishes each
id once, so the poller may send a checkpoint again after a restart.
"""
