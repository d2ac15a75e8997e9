"""From results of this wing to artifacts. Nothing here shows, saves or logs."""
