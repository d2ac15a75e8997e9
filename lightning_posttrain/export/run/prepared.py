"""What is shipped, made of weights, of how the step asks its network, and of what was fitted behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lightning_posttrain.calibration import Calibrator, from_state
from lightning_posttrain.classification import ScoreKind
from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import CallSource
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.program.entry import Entry, FunctionAsk, entry_by, entry_of
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.fitted import Fitted
from lightning_posttrain.export.run.weights import Weights


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is shipped.

    Args:
        weights: that it has.
        deployed: the module.
        slots: by input, where it stands in what the step gave to its network.
    """

    weights: Weights
    deployed: Deployed
    slots: Mapping[str, Path]

    @property
    def decision(self) -> Decision:
        """How it decides."""
        return self.deployed.describe()


def prepared(weights: Weights, asked: AskedCall, fitted: Fitted, *, uint8: bool) -> Prepared:
    """What is shipped.

    Raises:
        ValueError: the members of an ensemble are asked otherwise than the step asks its network.
        CannotExportError: rows of a batch depend on each other.
    """
    entry = entry_for(weights, asked)
    scores: ScoreKind = "logits" if weights.network is not None else asked.scores
    deployed = Deployed(entry, fitted.decision, scores=scores, calibrator=fitted.calibrator, uint8=uint8)
    return Prepared(weights, deployed, entry.slots)


def entry_for(weights: Weights, asked: AskedCall) -> Entry:
    """The call of the network with weights, as a module of named tensors.

    Raises:
        ValueError: the members of an ensemble are asked otherwise than the step asks its network.
        CannotExportError: rows of a batch depend on each other.
    """
    if not isinstance(asked.call, CallAgain):
        if weights.network is not None:
            return entry_by(weights.module, lambda network, inputs: network(inputs), asked.value)
        return entry_by(weights.module, FunctionAsk(asked.call, asked.form), asked.value)
    if weights.network is None:
        return entry_of(weights.module, asked.call, asked.targets)
    if weights.entry != asked.call.module:
        raise ValueError(
            f"the ensemble asks {weights.entry or 'the module'!r}, and the step {asked.call.module or 'the module'!r}. "
            "Pass the same forward_fn to CheckpointEnsemble and ModelExport."
        )
    whole = CallAgain("", CallSource("", 0, 1, "", "as it is"), asked.call.inputs)
    return entry_of(weights.module, whole, asked.targets)


def head_of(decision: Decision) -> Deployed:
    """What decides behind a network that was asked already; only its ``head`` is of use."""
    return Deployed(torch.nn.Identity(), decision, calibrator=calibrator_of(decision))


def calibrator_of(decision: Decision) -> Calibrator | None:
    """The calibrator that a decision describes.

    Raises:
        ValueError: it describes none that is known.
    """
    found = decision.calibration
    if found is None:
        return None
    learned: dict[str, Any] = {
        name: torch.tensor(value, dtype=torch.float32) for name, value in found["parameters"].items()
    }
    return from_state({"method": found["method"], "task": decision.task, **learned})
