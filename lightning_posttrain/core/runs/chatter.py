"""What Lightning says of every Trainer, which of many hides what they found."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_utilities.core import rank_zero

CHATTER = ("GPU available", "TPU available", "HPU available", "💡 Tip", "`Trainer.fit` stopped: `max_")
OF_LIGHTNING = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
"""A warning of torch about Lightning's code, which each Trainer would show again."""


@contextmanager
def without_chatter() -> Iterator[None]:
    """Let Lightning leave out what is the same for every Trainer; warnings and all else it says."""
    heard = rank_zero.log
    heard.addFilter(_is_worth_saying)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=OF_LIGHTNING)
            yield
    finally:
        heard.removeFilter(_is_worth_saying)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not str(record.msg).startswith(CHATTER)
