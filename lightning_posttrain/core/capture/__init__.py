"""What a step gave, and what a batch holds: ``tap`` listens, ``target_and_inputs`` and ``leaves`` look, ``forward`` asks."""
