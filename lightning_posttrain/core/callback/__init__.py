"""What every callback is made of: hooks, options, reporting, scalars, what is fitted on validation."""
