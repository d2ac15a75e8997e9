"""Which scalars are for charts and the printed table of a test; the others can be monitored, and stand in files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase


def patterns(log: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Names with ``*`` for any letters, as they were chosen; None where nothing was."""
    return log if log is None else (log,) if isinstance(log, str) else tuple(log)


def means(pattern: str, name: str, known: Collection[str]) -> bool:
    """Whether a name is meant: names that there are come before patterns, in which brackets are letters too."""
    if pattern in known:
        return name == pattern
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("[", "[[]"))


def uncharted(names: Collection[str], chosen: Iterable[str]) -> set[str]:
    """Those that no pattern means.

    Example:
        >>> sorted(uncharted(["calibration/ece", "calibration/ace", "thresholds/aurc"], ["calibration/ece", "thr*"]))
        ['calibration/ace']
    """
    chosen = tuple(chosen)
    return {name for name in names if not any(means(one, name, names) for one in chosen)}
