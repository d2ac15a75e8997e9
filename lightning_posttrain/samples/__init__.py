"""Samples as people see them: their kind, their choice, their pictures, and asking the model about them."""
