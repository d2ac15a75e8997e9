"""Callbacks of this wing."""
