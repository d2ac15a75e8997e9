"""Ensembles: one prediction of several members, checkpoints of a run or of several."""

from __future__ import annotations

from lightning_posttrain.ensembles.members.state import MemberState

__all__ = [
    "MemberState",
]
