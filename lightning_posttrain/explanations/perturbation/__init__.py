"""Explanations of a model that is only asked: parts of its inputs are hidden, and its outputs are compared."""
