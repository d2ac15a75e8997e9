"""Pictures and tables of feature maps."""
