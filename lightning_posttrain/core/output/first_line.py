"""The first line of an error, for a sentence that quotes it."""

from __future__ import annotations


def first_line(said: BaseException | str, most: int = 160) -> str:
    r"""The first line that is not empty, without a full stop at its end; of a silent error its kind.

    Args:
        said: an error, or its text.
        most: characters; what is longer ends in an ellipsis.

    Example:
        >>> first_line(ValueError("no rows.\nTry again.")), first_line(KeyError()), first_line("a long line", most=6)
        ('no rows', 'KeyError', 'a lon…')
    """
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else type(said).__name__ if isinstance(said, BaseException) else ""
    return first if len(first) <= most else f"{first[: most - 1]}…"
