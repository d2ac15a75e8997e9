"""Parity in sentences; every figure in them is one of the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_posttrain.export.result import FormatParity


def words_of(parity: FormatParity) -> str:
    """What a format amounts to.

    Example:
        >>> from lightning_posttrain.export.result import FormatParity
        >>> words_of(FormatParity("pt2", ("model.pt2",), True, "", rows=397, decisions=397, largest=0.0))
        'model.pt2 gives the answers that were tested: 0 of 397 labels flip, so below 0.8 %; probabilities are equal'
    """
    if not parity.kept:
        return alert_of(parity)
    if not parity.rows:
        return f"{_files(parity)} {_verb(parity, 'is', 'are')} kept: {parity.reason}"
    parts = [f"{_flips(parity)}, so below {_bound(parity)}", _change(parity), _differences(parity)]
    more = f", compared with {parity.against}" if parity.against else ""
    gives = f"{_verb(parity, 'gives', 'give')} the answers that were tested"
    if parity.precision == "int8":
        gives = f"{_verb(parity, 'is', 'are')} kept"
    return f"{_files(parity)} {gives}{more}: {'; '.join(part for part in parts if part)}"


def alert_of(parity: FormatParity) -> str:
    """Why a format is refused."""
    return f"{_files(parity)} {_verb(parity, 'is', 'are')} not kept: {parity.reason}"


def rounded_up(share: float) -> str:
    """A share as a percentage that is never below it: of one digit below 1 %, else of two.

    Example:
        >>> rounded_up(0.00752), rounded_up(0.0119), rounded_up(0.234), rounded_up(1.0)
        ('0.8', '1.2', '24', '100')
    """
    percent = 100 * share
    return _up(percent, 1 if percent < 1 else 2)


def _files(parity: FormatParity) -> str:
    return " and ".join(parity.files) or f"format {parity.name}"


def _verb(parity: FormatParity, one: str, many: str) -> str:
    return many if len(parity.files) > 1 else one


def _flips(parity: FormatParity) -> str:
    """How many decisions flip; of rows where they have several."""
    several = parity.decisions != parity.rows
    of = f" of {parity.rows:,} {'row' if parity.rows == 1 else 'rows'}" if several else ""
    noun = "label" if parity.decisions == 1 else "labels"
    verb = "flips" if parity.flips == 1 else "flip"
    return f"{parity.flips:,} of {parity.decisions:,} {noun}{of} {verb}"


def _bound(parity: FormatParity) -> str:
    rows = " of rows have one" if parity.decisions != parity.rows else ""
    return f"{rounded_up(parity.flips_bound)} %{rows}"


def _change(parity: FormatParity) -> str:
    if parity.change is None or not parity.flips:
        return ""
    value, low, high = (f"{100 * one:+.2g}" for one in parity.change)
    return f"the share of right ones changes by {value} points ({low} to {high})"


def _differences(parity: FormatParity) -> str:
    if math.isnan(parity.largest):
        return ""
    if not parity.largest:
        return "probabilities are equal"
    return f"probabilities differ by {figure(parity.largest)} at most"


def figure(value: float) -> str:
    """A small number in two digits, rounded up, so that it is a bound.

    Example:
        >>> figure(2.41e-7), figure(0.0123), figure(3e-7), figure(0.0)
        ('2.5e-7', '0.013', '3e-7', '0')
    """
    return _up(value, 2) if value else "0"


def _up(value: float, digits: int) -> str:
    step = 10.0 ** (math.floor(math.log10(value) + 1e-9) - digits + 1)
    # what is a whole number of steps but for rounding is not the next
    return f"{math.ceil(value / step - 1e-6) * step:.3g}".replace("e-0", "e-")


def milliseconds(seconds: float) -> str:
    """A time in milliseconds, of two digits at least, and no more behind the point than these need.

    Example:
        >>> milliseconds(0.0000446), milliseconds(0.000203), milliseconds(0.00254), milliseconds(0.1234)
        ('0.045', '0.20', '2.5', '123')
    """
    thousandths = 1e3 * seconds
    places = 1 - math.floor(math.log10(thousandths)) if thousandths > 0 else 0
    return f"{thousandths:.{max(places, 0)}f}"
