"""What a step says of its own class scores, heard at its losses and metrics."""
