"""Optuna, which an extra installs."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

try:
    import optuna
    from optuna.storages import journal
except ModuleNotFoundError as error:
    raise ImportError("a study needs Optuna: pip install 'lightning-posttrain[tuning]'") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna say nothing of its own: how loud it is, and its marks of what is experimental, are for its callers."""
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(loud)


__all__ = ["journal", "optuna", "quiet"]
