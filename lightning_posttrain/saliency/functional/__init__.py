"""Mathematics of this wing: tensors in, tensors or results out."""
