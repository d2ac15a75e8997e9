"""Metrics of this wing: states that sum over ranks."""
