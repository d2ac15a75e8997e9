"""The sections of the page, each a function from the files of a stage to what stands there, or to nothing."""
