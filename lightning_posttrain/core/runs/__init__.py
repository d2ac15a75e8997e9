"""Trainers that the package itself starts: of members of an ensemble, and of trials of a search.

``isolation`` seeds a run, and puts back what it changed of the process; ``trainers`` has what is asked of Lightning, in
either namespace; ``failures`` says why a fit failed, and frees its memory; ``owners`` tells whether a process lives.
"""
