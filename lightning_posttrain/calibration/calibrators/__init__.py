"""Layers from logits to better calibrated logits."""
