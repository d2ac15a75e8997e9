"""What a step gave, what a batch holds: ``tap`` hears, ``target_and_inputs`` and ``leaves`` look, ``forward`` asks."""
