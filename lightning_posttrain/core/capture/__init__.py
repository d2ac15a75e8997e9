"""What a step of the user's module gave, heard and found without a change to it."""
