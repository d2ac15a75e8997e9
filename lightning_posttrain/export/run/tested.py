"""What the module that was tested answers on a batch, and what is known of how it decides."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.margins import margins
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.run.asked_call import probabilities_of
from lightning_posttrain.export.run.row_form import Inputs, as_rows
from lightning_posttrain.export.signature import Array


class Tested(NamedTuple):
    """A row for each decision.

    Args:
        answers: of the module.
        margin: how far each decision is from another one, in the network's own probabilities.
        labels: what is most probable by these, or at 0.5 and above, as figures of a classifier are worked out.
    """

    answers: Outputs
    margin: Array
    labels: Array

    @classmethod
    def of(cls, answers: Outputs, own: Array, decision: Decision) -> Tested:
        """Of answers, and of the probabilities of the network without its calibration."""
        return cls(answers, margins(own, decision), most_probable(own, labels=decision.task == "multilabel"))


def most_probable(probabilities: Array, *, labels: bool) -> Array:
    """The classes of rows ``(R, C)``, or which labels are at 0.5 and above."""
    found: Array = (probabilities >= 0.5).astype(np.int64) if labels else probabilities.argmax(1)
    return found


def answered(tested: Deployed, own: Deployed, decision: Decision, inputs: Inputs) -> Tested:
    """What a module answers; its network runs once.

    Args:
        tested: the module.
        own: the same without its calibration, whose probabilities decide.
        decision: how they do.
        inputs: by name.
    """
    labels = decision.task == "multilabel"
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        scores = tested.raw_scores(*map(torch.from_numpy, inputs.values()))
        found, plain = (Outputs(*(part.numpy() for part in each.head(scores))) for each in (tested, own))
    return Tested.of(as_rows(found, labels=labels), as_rows(plain, labels=labels).probabilities, decision)


def answered_by_step(head: Deployed, batch: EvalBatch) -> Tested:
    """What a step has answered, decided as what is shipped decides."""
    with torch.inference_mode(False), torch.no_grad():
        scores = batch.scores.detach().cpu().clone()
        probabilities, decision = head.head(scores)
        own = probabilities_of(scores, labels=batch.multilabel)
    return Tested.of(Outputs(probabilities.numpy(), decision.numpy()), np.asarray(own), head.decision)


def uncalibrated(deployed: Deployed) -> Deployed:
    """The same, whose probabilities are those of the network."""
    decision = replace(deployed.decision, calibration=None)
    return Deployed(deployed.network, decision, scores=deployed.scores, uint8=deployed.uint8).eval()


def behind_loader(deployed: Deployed) -> Deployed:
    """The same for inputs as a loader gives them, which are normalised."""
    decision = replace(deployed.decision, mean=None, std=None)
    return Deployed(deployed.network, decision, scores=deployed.scores, calibrator=deployed.calibrator).eval()
