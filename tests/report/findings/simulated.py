"""Runs whose truth is known, as files in a folder."""

import json

import torch

from lightning_posttrain.calibration.functional.errors import calibration_figures
from lightning_posttrain.calibration.result import CalibrationReport
from lightning_posttrain.classification import Confusion, classification_report
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.thresholds import risk_coverage

MAX_RISK = 0.1


def calibrated(rows, classes, generator, *, strength=5.0):
    """Probabilities ``(N, C)``, and labels drawn from them: no class is worse, no pair confused, no bin off."""
    own = torch.randint(classes, (rows,), generator=generator)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(rows), own] += strength * torch.rand(rows, generator=generator, dtype=torch.float64) + 1
    probabilities = logits.softmax(1)
    return probabilities, torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def confidence_kept(probabilities, target):
    """The confidence from which on at most a tenth was wrong on validation."""
    confidence, predicted = probabilities.max(1)
    return risk_coverage(confidence, predicted == target, max_risk=MAX_RISK).chosen


def write(home, name, record, stage="test"):
    place = home / "posttrain" / stage
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").write_text(json.dumps(record))
    return RunFolder(home)


def written(home, probabilities, target, *, frozen=None):
    """The folder of a run with the records that the package makes of these rows."""
    rows, classes = probabilities.shape
    confidence, predicted = probabilities.max(1)
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    counts.index_put_((target, predicted), torch.ones(rows, dtype=torch.int64), accumulate=True)
    confusion = Confusion(counts, tuple(f"class {k}" for k in range(classes)))
    write(home, "confusion_matrix", confusion.to_dict())
    write(home, "classification_report", classification_report(confusion).to_dict())
    figures = calibration_figures(probabilities, target)
    write(home, "calibration", CalibrationReport(figures, rows=rows, total=rows).to_dict())
    if frozen is not None:
        from lightning_posttrain.core.output.result import undefined_to_none

        found = risk_coverage(confidence, predicted == target, max_risk=MAX_RISK, frozen=frozen)
        write(home, "thresholds", undefined_to_none(found.to_dict()))
    return RunFolder(home)


def with_confusion(probabilities, target, generator, *, share=0.4):
    """The same, but so many rows of class 0 are said to be of class 1."""
    probabilities = probabilities.clone()
    taken = (target == 0) & (torch.rand(len(target), generator=generator) < share)
    first, second = probabilities[taken, 1].clone(), probabilities[taken].max(1).values
    place = probabilities[taken].argmax(1)
    rows = taken.nonzero()[:, 0]
    probabilities[rows, place], probabilities[rows, 1] = first, second
    return probabilities


def overconfident(probabilities, *, sharper=2.0):
    """The same order of classes, by probabilities of half the temperature."""
    return (sharper * probabilities.log()).softmax(1)
