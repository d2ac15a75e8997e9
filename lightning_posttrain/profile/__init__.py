"""What a model costs, and where the seconds of its run go.

``ModelProfile`` hears which networks a step calls (``calls``), counts and times them at the end (``measuring``, with
``counting`` for parameters, FLOPs and memory), and adds up the seconds of the run (``clock``, ``training_time``,
``energy``, ``peak_memory``). ``pareto`` compares runs by what their folders say (``compared``). A figure that a person
should see first is a line in ``figures``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.profile.compared.result import Pareto, pareto
from lightning_posttrain.profile.counting import Architecture, architecture_of, parameter_count
from lightning_posttrain.profile.result import ProfileReport

if TYPE_CHECKING:
    from lightning_posttrain.profile.callback import ModelProfile

__all__ = [
    "Architecture",
    "ModelProfile",
    "Pareto",
    "ProfileReport",
    "architecture_of",
    "parameter_count",
    "pareto",
]

__getattr__ = lazily(__name__, {"lightning_posttrain.profile.callback": ["ModelProfile"]})
