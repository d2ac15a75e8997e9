"""All scores, for areas under curves without an approximation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from lightning_posttrain.classification.functional.exact import exact_areas
from lightning_posttrain.classification.functional.histograms import above_half
from lightning_posttrain.classification.metric.base import EvaluationMetric
from lightning_posttrain.classification.result.scores import Areas
from lightning_posttrain.classification.rows import LOSS, RowFacts


@final
class ExactScores(EvaluationMetric):
    """Keeps every score, 4 bytes each, and a label of 8 bytes a row; for multilabel 12 bytes a score.

    Under DDP every rank holds those of all ranks at the end of the epoch.
    """

    reads = LOSS | {"log_total"}
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_classes: int, *, multilabel: bool = False, sync_on_compute: bool = True) -> None:
        super().__init__(num_classes, multilabel=multilabel, sync_on_compute=sync_on_compute)
        self.grow("scores", num_classes, torch.float32)
        self.grow("labels", num_classes if multilabel else 1)

    def add_scores(self, scores: Tensor, rows: RowFacts) -> None:
        """Keep the logs of the probabilities, mirrored above one half, where they would else be equal."""
        if self.multilabel:
            self.scores.append(scores.to(torch.float32, copy=True))  # a buffer may come in that is used again
            self.labels.append(_marked(rows).view(scores.shape))
            return
        others, predicted = rows["others"], rows["predicted"][:, None]
        # the sum over the others is 0 in float32 where they are far below; its log is not
        log_others = scores.scatter(1, predicted, -torch.inf).logsumexp(dim=1) - rows["top"]
        top = torch.where(others < 1, above_half(others, log_others), -torch.log1p(others))
        logs = (scores - rows["log_total"][:, None]).scatter_(1, predicted, top[:, None])
        self.scores.append(logs.float())
        self.labels.append(_marked(rows)[:, None])

    def add_rows(self, rows: RowFacts) -> None:
        """Nothing: what is needed came with the scores."""

    def read(self, states: Mapping[str, Tensor]) -> Areas:
        """The areas."""
        return exact_areas(states["scores"], states["labels"])


def _marked(rows: RowFacts) -> Tensor:
    """One more than the label, 0 where a row does not count."""
    return (rows.label + 1) * rows.counted
