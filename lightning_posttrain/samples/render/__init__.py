"""Pictures of samples and of maps over them."""
