"""Where the seconds of a run go, by what Lightning brackets for profilers.

``clock`` adds up the seconds, ``actions`` says what the name of an action means, and ``spent`` makes the rows.
"""
