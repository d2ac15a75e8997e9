"""Numbers and names as a sentence has them."""

from __future__ import annotations

from lightning_posttrain.core.output.quantities import fixed

LONGEST = 48


def quoted(name: object) -> str:
    r"""A name in quotes, on one line, shortened in the middle; what cannot be printed is shown as ``�``.

    Example:
        >>> quoted("wall clock\n")
        '"wall clock"'
    """
    return f'"{plain(name)}"'


def plain(name: object) -> str:
    """The same without quotes."""
    text = "".join(sign if sign.isprintable() else "�" for sign in " ".join(str(name).split()))
    return text if len(text) <= LONGEST else f"{text[:30]}…{text[-16:]}"


def percent(share: float) -> str:
    """A share in per cent, near 0 and 1 with a digit behind the point.

    Example:
        >>> percent(0.567), percent(0.9967), percent(1.0)
        ('57 %', '99.7 %', '100 %')
    """
    return f"{_number(share, fine=not 0.05 < share < 0.95)} %"


def within(share: float, ends: tuple[float, float], *, named: bool = True) -> str:
    """A share and its interval, as ``"57 %, 95 % interval 53 to 60"``; narrow ones with a digit behind the point.

    Example:
        >>> within(0.567, (0.53, 0.603)), within(0.9967, (0.99, 1.0), named=False)
        ('57 %, 95 % interval 53 to 60', '99.7 %, 99.0 to 100')
    """
    fine = ends[1] - ends[0] < 0.03
    word = "95 % interval " if named else ""
    here, low, high = (_number(value, fine=fine) for value in (share, *ends))
    return f"{here} %, {word}{low} to {high}"


def points(share: float) -> str:
    """A difference of shares in points of per cent.

    Example:
        >>> points(0.0812), points(0.01), points(0.2)
        ('8.1 points', '1.0 points', '20 points')
    """
    return f"{100 * share:.0f} points" if abs(share) >= 0.0995 else f"{100 * share:.1f} points"


def counted(count: int, what: str) -> str:
    """How many of what.

    Example:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def rows_of(count: int) -> str:
    """How many rows."""
    return counted(count, "row")


def and_more(said: list[str], shown: int) -> str:
    """The first of many, and how many more there are.

    Example:
        >>> and_more(["a", "b", "c"], 2)
        'a; b; and 1 more'
    """
    more = len(said) - shown
    return "; ".join([*said[:shown], *([f"and {more} more"] if more > 0 else [])])


def _number(share: float, *, fine: bool) -> str:
    value = 100 * share
    return fixed(value, 1 if fine and 0 < value < 100 else 0)
