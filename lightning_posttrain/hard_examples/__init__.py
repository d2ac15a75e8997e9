"""Hard examples: the samples with the largest losses, as galleries, and as what the next epoch draws more often.

``keeping`` is what is kept of an epoch, of any family; ``sampler`` draws by loss, and ``mining_losses`` gives it these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.hard_examples.result import HardGroup, HardReport
from lightning_posttrain.hard_examples.sampler import HardExampleSampler

if TYPE_CHECKING:
    from lightning_posttrain.hard_examples.callback.examples import HardExamples
    from lightning_posttrain.hard_examples.callback.mining import HardExampleMining
    from lightning_posttrain.hard_examples.keeping import Keeping
    from lightning_posttrain.hard_examples.render.galleries import group_image

__all__ = [
    "HardExampleMining",
    "HardExampleSampler",
    "HardExamples",
    "HardGroup",
    "HardReport",
    "Keeping",
    "group_image",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.hard_examples.callback.examples": [
            "HardExamples",
        ],
        "lightning_posttrain.hard_examples.callback.mining": [
            "HardExampleMining",
        ],
        "lightning_posttrain.hard_examples.keeping": [
            "Keeping",
        ],
        "lightning_posttrain.hard_examples.render.galleries": [
            "group_image",
        ],
    },
)
