"""What every callback is made of: hooks, options, reporting, scalars, what a checkpoint keeps of validation."""
