"""Decides about each record, from its bytes to a `Decision`. Pure: no clock, network or logging."""
