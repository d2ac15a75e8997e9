"""Drivers over many Lightning fits in one process: seeds, bootstrap resamples, boosting.

``driver`` has the loop over members, ``member`` one fit, ``data`` what each is trained on, ``folder`` and ``lock`` what
stands on disk. ``row_scores`` asks a member for its scores of given rows, of which ``figures`` and ``samme`` make
figures and weights. What a fit must leave as it was is in ``core.runs``.
"""
