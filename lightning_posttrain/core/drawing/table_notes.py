"""What stands below a table."""

from __future__ import annotations

from collections.abc import Iterable


def sentences(first: str, notes: Iterable[str]) -> str:
    """``first``, a sentence, and each of ``notes`` made one.

    Example:
        >>> sentences("All is well.", ["no rows of dog"])
        'All is well. No rows of dog.'
    """
    return " ".join([first, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
