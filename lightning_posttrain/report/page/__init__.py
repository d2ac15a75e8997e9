"""The page of a run: one file that opens without a network, made from the files in the run's folder alone.

``sections`` say what stands on it, ``figures`` draw, ``pictures`` embeds photographs within a budget, ``document`` puts
the parts together, and ``writing`` writes the file and its summary in Markdown.
"""
