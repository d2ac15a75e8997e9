"""Counts, bytes and seconds as people write them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal


def fixed(value: float, digits: int = 0) -> str:
    """A number with so many digits behind the point; half a step goes up, as a browser has it.

    Example:
        >>> fixed(42.5), f"{42.5:.0f}", fixed(0.125, 2)
        ('43', '42', '0.13')
    """
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP))


def scaled(value: float, *, digits: int = 3) -> str:
    """A count with a letter for thousands, millions, and so on; a small one as it is.

    Example:
        >>> scaled(8730), scaled(11_689_512), scaled(1.82e9), scaled(640)
        ('8.73 k', '11.7 M', '1.82 G', '640')
    """
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * (1 - 0.5 * 10**-digits):
            return f"{_significant(value / size, digits)} {letter}"
    return _significant(value, digits) if value % 1 else f"{value:.0f}"


def size_words(size: int) -> str:
    """Bytes as people write them, by powers of 1,000.

    Example:
        >>> size_words(812), size_words(49_700), size_words(45_100_000)
        ('812 B', '50 kB', '45 MB')
    """
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least * 0.9995:
            scaled = size / least
            return f"{scaled:.0f} {unit}" if scaled >= 9.95 else f"{scaled:.1f} {unit}"
    return f"{size} B"


def duration(seconds: float) -> str:
    """Seconds in the unit that they are read best in.

    Example:
        >>> duration(0.000084), duration(0.0123), duration(7.26), duration(754), duration(100_000)
        ('84 µs', '12.3 ms', '7.26 s', '12 min 34 s', '27 h 46 min')
    """
    if seconds < 9.995e-4:
        return f"{_significant(seconds * 1e6, 3)} µs"
    if seconds < 0.9995:
        return f"{_significant(seconds * 1e3, 3)} ms"
    if seconds < 99.95:
        return f"{_significant(seconds, 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def _significant(value: float, digits: int) -> str:
    """So many digits, never as a power of ten."""
    whole = len(f"{abs(value):.0f}")
    return f"{value:.{digits}g}" if whole <= digits and value else f"{value:.0f}"
