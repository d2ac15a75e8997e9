"""Mathematics of exported models with NumPy alone: how far what is answered is from what was tested."""
