"""Fault injection: deploys on real hosts, hit at every boundary between two steps, and what the host makes of it."""
