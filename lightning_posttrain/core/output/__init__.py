"""Results, artifacts, and where they go."""
