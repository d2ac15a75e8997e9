"""Pictures of a run as a whole."""
