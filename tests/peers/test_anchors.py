"""Rules beside those of the package "anchor-exp" (Ribeiro, Singh and Guestrin, 2018)."""

import contextlib
import io
import time

import numpy as np
import pytest
import torch

from lightning_posttrain.explanations.anchors.anchor import anchor

pytestmark = pytest.mark.peers
anchor_tabular = pytest.importorskip("anchor.anchor_tabular")


def both_large(rows):
    large = (rows[:, :2] > 0.5).all(1)
    return torch.stack([~large, large], 1).float()


def test_the_rule_for_an_and_of_two_columns_is_that_of_anchor_exp(record_property):
    rows = torch.rand(2000, 5, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0.9, 0.8, 0.1, 0.2, 0.3], [0.1, 0.8, 0.6, 0.2, 0.3]])
    np.random.seed(0)
    names = list("abcde")
    explainer = anchor_tabular.AnchorTabularExplainer(["no", "yes"], names, rows.numpy(), {})
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = [
            explainer.explain_instance(
                row.numpy(), lambda z: both_large(torch.tensor(z)).argmax(1).numpy(), threshold=0.95
            )
            for row in x
        ]
    middle = time.perf_counter()
    ours = anchor(both_large, x, rows, predicted=both_large(rows).argmax(1), names=names)
    record_property("times faster", (middle - start) / (time.perf_counter() - middle))
    for rule, other in zip(ours, theirs, strict=True):
        assert sorted(condition.name for condition in rule.conditions) == sorted(names[f] for f in other.features())
        assert rule.precision == pytest.approx(other.precision(), abs=0.03)
        # theirs may stop at the outer quartile of a column
        assert rule.coverage >= other.coverage() - 0.02
