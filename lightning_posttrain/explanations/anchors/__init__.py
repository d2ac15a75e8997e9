"""Anchors: rules that hold a prediction in place."""
