"""An exported folder in the servers of others: LitServe, Ray Serve, and a folder for Triton."""
