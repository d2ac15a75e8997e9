"""What an export goes through in a run: rows kept, weights chosen, files made, compared, judged and shipped.

``export_run`` has the state; ``at_fit_end`` and ``on_test`` are its two ends.
"""
