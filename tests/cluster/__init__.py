"""The chart on a real control plane, its pods as processes, with events flowing all the time."""
