"""Every record on disk is read back as what it was written from."""

import importlib
import json
import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_posttrain import ModelExport, ModelProfile, posttrain_suite
from lightning_posttrain.calibration.calibrators.scaling import TemperatureScaling
from lightning_posttrain.classification.result.confusion import Confusion
from lightning_posttrain.classification.result.gap import GapHistory, Pair
from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.core.output.kinds import HOMES, result_of
from lightning_posttrain.core.output.restored import restored
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.ensembles.drivers.figures import Comparison
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.result import Fits
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.explanations.result.interpretation import Importance
from lightning_posttrain.explanations.result.rule import Condition, Rule
from lightning_posttrain.explanations.result.surrogate import Branch, Drop, SurrogateReport
from lightning_posttrain.label_errors.result import Events, SampleHistory
from lightning_posttrain.label_errors.result import LabelErrors as Errors
from lightning_posttrain.profile.compared.files import RunFigures
from lightning_posttrain.profile.compared.result import Pareto
from lightning_posttrain.samples.result import Sample, SampleMaps
from lightning_posttrain.torchmetrics.result import MetricValues
from lightning_posttrain.tuning.knobs_result import Knobs, KnobSetting
from lightning_posttrain.tuning.result import Study, Trial
from tests import toys
from tests.test_results import every_callback, run


def read_again(result):
    """What a record is read as; it writes the same record, and was plain to begin with."""
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert record == result.to_dict()
    again = type(result).from_dict(record)
    assert again.to_dict() == record
    assert again.notes == result.notes
    assert type(result_of({**record, "epoch": 3, "step": 40})) is type(result)
    return again


class Labels(toys.Net):
    def step(self, batch, stage):
        logits = self(batch[0])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch[1].float())
        return {"loss": loss, "logits": logits}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fit", "test"])
def test_the_results_of_all_callbacks_are_read_back(how):
    callbacks = every_callback(how) + ([ModelProfile(), ModelExport()] if how == "test" else [])
    run(how, callbacks)
    results = [result for callback in callbacks for result in callback.results.values()]
    assert len(results) >= 15
    for result in results:
        read_again(result)
        result.scalars()
    for stage in RunFolder(".").stages:
        for name, record in RunFolder(".").records(stage):
            if "kind" in record:
                found = result_of(record)
                assert {**found.to_dict(), "epoch": record["epoch"], "step": record["step"]} == record, name


@pytest.mark.slow
def test_the_results_of_several_labels_are_read_back():
    callbacks = posttrain_suite(task="multilabel", on_error="raise")
    pictures, target = toys.images(48).tensors
    data = TensorDataset(pictures, torch.nn.functional.one_hot(target, toys.CLASSES) | (pictures[:, 0, :4, 0] > 0.7))
    toys.quiet(callbacks).validate(Labels("dict"), toys.loader(data), verbose=False)
    kinds = {read_again(result).to_dict().get("kind") for one in callbacks for result in one.results.values()}
    assert {"label_confusion", "thresholds", "classification_report"} <= kinds


SAMPLE = Sample(3, "cat", 0.5, "cat", "dog", 0.7, unit="probability", remarks=("good",), doubts=("few rows",))
RULE = Rule((Condition(0, "size", 1.5, 2.0),), 1, 0.9, 0.8, 40, 0.2, 0.5, valid=True, observed=False, wanted=0.95)
GAINS = (0.1, 0.05, math.nan)
SETTING = KnobSetting("raw", "none", "argmax", 0.7, (0.0, 0.0, 0.0), 0.8, met=True, accuracy=0.8)
BETTER = replace(SETTING, calibrator="temperature", log_loss=0.6, log_loss_gain=GAINS)


def matrix(classes, seed=0):
    counts = torch.randint(5, (classes, classes), generator=torch.Generator().manual_seed(seed)) // 4
    return Confusion(counts, tuple(f"c{i}" for i in range(classes)), nonfinite=2, ignored=(1,))


def report(classes):
    value = torch.rand(classes, dtype=torch.float64)
    value[5:] = torch.nan
    ends = torch.stack([value - 0.1, value + 0.1])
    return ClassificationReport(
        tuple(f"c{i}" for i in range(classes)), torch.arange(classes), {"accuracy": 0.5, "mcc": math.nan},
        {"recall": value, "f1": value}, {"accuracy": (0.4, 0.6)}, {"recall": ends}, {"mcc": (math.nan, math.nan)},
        {"f1": ends}, positions=True, worth=("exact",), undefined=("no f1",), alerts=("lost",), agreements=("its own",),
    )  # fmt: skip


def history(suspects, *, judged=True):
    rows = 2 * suspects
    whole, score = torch.arange(rows), torch.rand(rows, dtype=torch.float64)
    flagged = whole < suspects
    errors = Errors(score, flagged, whole % 3, score.argsort(), torch.eye(3, dtype=torch.float64) / 3)
    return SampleHistory(
        whole * 3, whole % 3, (whole + 1) % 3, score.float(), whole % 4, whole % 5, whole % 2, 1 + whole % 6,
        errors if judged else None, ("cat", "dog", "owl"), Events(4, 3, 2, 1), (Events(3, 3, 3, 3),), limits=("said",),
    )  # fmt: skip


RESULTS = {
    "2 classes": matrix(2),
    "200 classes": matrix(200),
    "sparse counts": replace(matrix(200), counts=matrix(200).counts.to_sparse().coalesce()),
    "no row": Confusion(torch.zeros(3, 3, dtype=torch.int64), ("a", "b", "c")),
    "some of all": matrix(30).of([2, 4]),
    "report": report(7),
    "report of many": report(1200),
    "gap": GapHistory({"accuracy": (Pair(0, 0.5, 0.4), Pair(1, 0.7, math.nan)), "log_loss": ()}, 3, 40),
    "few suspects": history(20),
    "more suspects than are listed": history(80),
    "no suspect": history(0),
    "not judged": history(20, judged=False),
    "metrics": MetricValues(
        {"one": torch.tensor(0.5), "kind": torch.tensor([1.0, math.nan]), "n": torch.tensor([[1, 2], [3, 4]])},
        ("a", "b"),
        {"other": "no rows"},
    ),
    "fits": Fits(
        "Boosting",
        "somewhere",
        "val/loss",
        (
            MemberRecord(0, "complete", 1, "a.ckpt", score=0.5, epochs=3, figures={"val/loss": math.nan}),
            MemberRecord(1, "failed", 2, reason="no memory"),
        ),
        (1.0,),
        comparison=Comparison(40, 0.7, 0.6, -0.1, (-0.2, 0.0), 0.7, 0.8, 0.1, (0.0, 0.2)),
        stopped="time",
    ),
    "surrogate": SurrogateReport(
        (
            Branch(0, None, leaf=False, predicted="cat", rows=9, agreement=0.5),
            Branch(
                1,
                Condition(0, "year", low=math.inf, missing=True),
                leaf=True,
                predicted="cat",
                rows=0,
                agreement=math.nan,
            ),
            Branch(1, Condition(0, "year", high=math.inf), leaf=True, predicted="dog", rows=3, agreement=1.0),
        ),
        ("cat", "dog"),
        0.8,
        0.7,
        0.9,
        0.6,
        "cat",
        30,
        20,
        (Drop("year", 0.5, 0.4, math.nan, 0.1),),
        20,
        ("made",),
    ),
    "explained": Explained(
        SampleMaps(
            "tabular",
            torch.zeros(2, 2),
            {},
            {"rise": "RISE"},
            frozenset(),
            (SAMPLE, SAMPLE),
            skipped={"rise": "no image"},
        ),
        (("size", "year"), ("size", "")),
        {"lime": torch.tensor([[0.5, -0.5], [0.25, math.nan]]), "shap": torch.tensor([[1.0, 2.0], [3.0, 4.0]])},
        rules=(RULE, replace(RULE, conditions=(Condition(1, "year", low=math.inf, missing=True),))),
        class_names=("cat", "dog"),
        importance=Importance(("size",), ("cat",), torch.rand(1, 4, 1), torch.rand(4, 1), "exact", 8),
        figures={"lime/fit": math.nan},
    ),
    "maps": SampleMaps(
        "image",
        torch.zeros(1),
        {"cam": torch.zeros(1)},
        {"cam": "CAM"},
        frozenset({"cam"}),
        (SAMPLE,),
        refused={"cam": {0: "wrong"}},
        gaps={"cam": (0.25,)},
        layer="model.3",
        figures={"cam/drift": 0.5},
        alarms=("look",),
        said=("how to read",),
    ),
    "study": Study(
        "digits",
        "val_loss",
        "min",
        {"lr": (0.001, 1.0, "log"), "width": [16, 32]},
        "random",
        "none",
        (Trial(0, {"lr": 0.1}, "complete", 0.7, curve={3: 0.5, 4: math.nan}, figures={"a": math.nan}),),
    ),
    "knobs": Knobs(
        "multiclass",
        "F1",
        (SETTING, BETTER),
        BETTER,
        TemperatureScaling(2.0, "multiclass"),
        torch.tensor([0.5, math.nan], dtype=torch.float64),
        GAINS,
        300,
        5,
    ),
    "pareto": Pareto(
        "accuracy",
        "test",
        falling=False,
        runs=(
            RunFigures(
                "a",
                0.5,
                (0.4, 0.6),
                30,
                dict.fromkeys(("parameters", "layers", "flops", "latency", "training_seconds"), math.nan),
            ),
        ),
    ),
}


@pytest.mark.parametrize("which", RESULTS)
def test_a_record_is_read_back_as_the_same_result(which):
    read_again(RESULTS[which])


@pytest.mark.parametrize("classes", [2, 30, 200])
def test_a_matrix_has_one_form_whatever_the_number_of_classes(classes):
    wanted = matrix(classes)
    record = wanted.to_dict()
    assert "counts" not in record
    dense = torch.zeros_like(wanted.counts)
    for actual, predicted, count in record["cells"]:
        dense[actual, predicted] = count
    assert dense.equal(wanted.counts)
    assert Confusion.from_dict(record).counts.to_dense().equal(wanted.counts)


def test_what_was_worked_out_of_all_samples_is_known_of_a_record_that_lists_some():
    whole = history(80)
    again = read_again(whole)
    assert len(again.index) == 50
    assert again.totals == whole.totals
    assert again.forgotten_counts.equal(whole.forgotten_counts)
    assert again.scalars() == whole.scalars()
    first = whole.suspects[:50]
    for name in ("index", "label", "predicted", "learned", "forgotten", "wrong", "seen"):
        assert getattr(again, name).equal(getattr(whole, name)[first]), name


def test_each_kind_is_named_by_its_class():
    for kind, home in HOMES.items():
        module, _, name = home.partition(":")
        found = getattr(importlib.import_module(f"lightning_posttrain.{module}"), name)
        assert kind in {getattr(found, "recorded_as", ""), getattr(found, "kind", "")}, kind
        assert callable(found.from_dict)


def test_a_record_that_cannot_be_read_says_why():
    with pytest.raises(ValueError, match="'kind' of the record is None, wanted one of"):
        result_of({"accuracy": 0.5})
    with pytest.raises(ValueError, match="kind 'confusion_matrix' cannot be read: KeyError: 'cells'"):
        result_of({"kind": "confusion_matrix", "class_names": []})


def test_values_are_read_by_their_annotations():
    assert restored(dict[int, tuple[float, ...]], {"2": [1, None]})[2][0] == 1.0
    assert restored(int | None, None) is None
    assert restored(torch.Tensor, [True, False]).dtype == torch.bool
    assert restored(torch.Tensor, [1, 2]).dtype == torch.int64
    assert restored(torch.Tensor, [1, None]).dtype == torch.float64
    assert restored(torch.Tensor, [[], []]).shape == (2, 0)
