"""Intervals and precision."""
