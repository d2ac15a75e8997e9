"""What one forward of a network costs: parameters, FLOPs and memory, as a table that adds up.

``walk`` makes the forward: ``parts`` hears which module is at work, ``counter`` every operation, whose FLOPs are in
``operations`` (the rule) and ``products`` (the formulas). ``architecture`` and ``parameters`` are what was found,
``text`` shows it as a tree. ``memory`` has the bytes of activations. To count an operation that is named as uncounted,
give it a formula in ``products``.
"""

from __future__ import annotations

from lightning_posttrain.profile.counting.architecture import Architecture, Block, ModuleRow
from lightning_posttrain.profile.counting.memory import ActivationMemory, activation_memory
from lightning_posttrain.profile.counting.parameters import ParameterCount, parameter_count
from lightning_posttrain.profile.counting.text import architecture_text
from lightning_posttrain.profile.counting.walk import architecture_of

__all__ = [
    "ActivationMemory",
    "Architecture",
    "Block",
    "ModuleRow",
    "ParameterCount",
    "activation_memory",
    "architecture_of",
    "architecture_text",
    "parameter_count",
]
