"""Members of an ensemble: weights found in files, read for a module, and run on batches that it was evaluated on."""
