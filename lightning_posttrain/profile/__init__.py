"""What a model costs, and where a run's time goes.

``counting`` has parameters, FLOPs and memory of one forward, ``clock`` the seconds of a run by callback.
"""

from __future__ import annotations

from lightning_posttrain.profile.compared.result import Pareto, pareto

__all__ = ["Pareto", "pareto"]
