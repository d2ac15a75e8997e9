"""Seeds of a study's draws."""

from __future__ import annotations

from typing import Literal

import numpy as np

USES = ("sampler", "trial")


def seed_of(seed: int, order: int, use: Literal["sampler", "trial"]) -> int:
    """A seed of its own for each trial of each study, for its settings and for its fit.

    ``seed + order`` would give the studies of seeds 0 and 1 nearly the same draws.

    Args:
        seed: of the study.
        order: place of the trial in it.
        use: what is drawn.
    """
    return int(np.random.SeedSequence((seed, order, USES.index(use))).generate_state(1)[0])
