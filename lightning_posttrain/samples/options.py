"""Options that callbacks share which explain samples, and how they are checked."""

from __future__ import annotations

from typing import Any, get_args

from lightning_posttrain.core.callback.options import one_of
from lightning_posttrain.samples.kinds import Kind
from lightning_posttrain.samples.targets import EXPLAINED


def check_options(explain: Any, kind: str | None, baseline: Any, choose: Any) -> None:
    """Raise for an option that is none.

    Raises:
        ValueError: so it is.
    """
    if not callable(explain):
        one_of("explain", explain, EXPLAINED)
    elif choose != "fixed":
        raise ValueError(f"`choose` is {choose!r}, which needs classes; a function in `explain` has none.")
    if kind is not None:
        one_of("kind", kind, get_args(Kind))
    if baseline not in ("mean", "blur") and not isinstance(baseline, (int, float)) and not callable(baseline):
        raise ValueError(f"`baseline` is {baseline!r}, wanted a number, 'mean', 'blur' or a function.")
