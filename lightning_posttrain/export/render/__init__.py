"""Pictures and tables of exported models."""
