"""Mathematics of this wing: tensors in, tensors out."""
