"""The figures of every shape of a module beside those of a plain loop; what is no classifier is refused."""

import re
import warnings
from collections import defaultdict
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.special import log_expit, log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from tests import toys
from tests.modules.shapes import SHAPES

pytestmark = pytest.mark.slow

for kind in ("losses", "heads", "networks", "batches", "graphs", "tasks", "positions", "several", "metrics", "refused"):
    import_module(f"tests.modules.shapes_{kind}")

STAGES = {"fit": "val", "validate": "val", "test": "test", "fit and test": "test"}
REFUSED = {name: shape for name, shape in SHAPES.items() if shape.error and not (shape.advice or shape.or_right)}
CLASSIFIERS = {name: shape for name, shape in SHAPES.items() if name not in REFUSED}


def each(shapes):
    return pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in shapes.items()])


@contextmanager
def said_only(shape):
    """No warning is let through but those that the shape names."""
    with warnings.catch_warnings():
        for message in shape.warns:
            warnings.filterwarnings("ignore", message)
        yield


def ran(trainer, module, shape, run):
    for one in run.split(" and "):
        if one == "fit":
            trainer.fit(module, shape.data("train"), shape.data("val"))
        else:
            getattr(trainer, one)(module, shape.data(STAGES[one]), verbose=False)


def evaluated(shape, run, options):
    """The module after a run, the trainer, and both callbacks."""
    module = shape.make()
    callbacks = [ClassificationMetrics(curves=False, resamples=0, **options), ConfusionMatrix(**options)]
    trainer = toys.quiet(callbacks, **shape.trainer)
    try:
        ran(trainer, module, shape, run)
    except ValueError:
        assert trainer.state.fn != "fit" or trainer.global_step == 0, "raised when training had begun"
        raise
    return module, trainer, *callbacks


@torch.no_grad()
def by_hand(shape, module, stage):
    """Scores and targets of all rows that count, by a pattern of the result's key."""
    module.eval()
    loaders = shape.data(stage)
    rows = defaultdict(list)
    for i, loader in enumerate(loaders if isinstance(loaders, list) else [loaders]):
        for batch in loader:
            given = module.by_hand(batch, stage)
            for name, pair in (given if isinstance(given, dict) else {f"dataloader_{i}" if i else "": given}).items():
                rows[f"{stage}/{name}".rstrip("/")].append(pair)
    module.train()  # Lightning warns of one that comes in eval mode
    return {key: tuple(torch.cat(parts) for parts in zip(*pairs, strict=True)) for key, pairs in rows.items()}


def log_probabilities(shape, scores):
    """Of each class ``(R, C)``; of several labels, that each is there or not ``(R, L, 2)``."""
    if shape.task == "multiclass":
        return np.log(scores) if shape.scores == "probabilities" else log_softmax(scores, axis=1)
    both = [np.log1p(-scores), np.log(scores)] if shape.scores == "probabilities" else map(log_expit, (-scores, scores))
    return np.stack(list(both), axis=-1)


def figures(shape, scores, target):
    """Counts, accuracy and log loss, by numpy and scikit-learn; of labels those that are 0 or 1."""
    log_p, target = log_probabilities(shape, scores.double().numpy()), target.long().numpy()
    predicted, known = log_p.argmax(-1), target >= 0
    own = -np.take_along_axis(log_p, target.clip(0)[..., None], axis=-1)[..., 0]
    if shape.task == "multilabel":
        labels = [(target[:, k][known[:, k]], predicted[:, k][known[:, k]]) for k in range(target.shape[1])]
        counts = np.stack([confusion_matrix(actual, said, labels=[0, 1]) for actual, said in labels])
        accuracy = ((target == predicted) | ~known).all(1).mean()
        return {
            "counts": counts,
            "accuracy": accuracy,
            "log_loss": np.nanmean(np.where(known, own, np.nan), axis=0).mean(),
        }
    counts = confusion_matrix(target, predicted, labels=range(log_p.shape[-1]))
    return {"counts": counts, "accuracy": accuracy_score(target, predicted), "log_loss": own.mean()}


def found(pattern, results):
    """The one key of the results that a pattern fits."""
    keys = [key for key in results if re.fullmatch(pattern, key)]
    assert len(keys) == 1, f"{pattern} is none, or more than one, of {list(results)}"
    return keys[0]


def logged_as(key, name):
    """What a figure of a result is called among the logged ones."""
    stage, _, loader = key.partition("/dataloader")
    return f"{stage}/{name}/dataloader{loader}" if loader else f"{key}/{name}"


def assert_right(shape, run, module, trainer, metrics, matrix):
    stage = STAGES[run]
    expected = by_hand(shape, module, stage)
    for pattern, (scores, target) in expected.items():
        key, wanted = found(pattern, metrics.results), figures(shape, scores, target)
        assert matrix.results[key].counts.dtype == torch.int64
        assert matrix.results[key].counts.tolist() == wanted["counts"].tolist()
        for name in ("accuracy", "log_loss")[: 1 + shape.losses]:
            assert metrics.results[key].overall[name] == pytest.approx(wanted[name], abs=shape.tolerance), name
            logged = trainer.callback_metrics[logged_as(key, name)]
            assert float(logged) == pytest.approx(wanted[name], abs=shape.tolerance), name
    for results in (metrics.results, matrix.results):
        assert sum(key.split("/")[0] == stage for key in results) == len(expected)


def advised(shape, message):
    """Options that an error must name."""
    assert [name for name in shape.advice if f"{name}=" not in message] == []
    return {**shape.options, **shape.advice}


def tried(shape, run):
    """The outcome, or what an error says where one may come."""
    try:
        return evaluated(shape, run, shape.options), ""
    except ValueError as error:
        if not shape.error or not run.endswith(shape.error_in):
            raise
        return None, str(error)


@each(CLASSIFIERS)
@pytest.mark.parametrize("run", STAGES)
def test_figures_are_those_of_a_plain_loop(run, shape):
    with said_only(shape):
        outcome, message = tried(shape, run)
        if message or (shape.error and not shape.or_right):
            assert re.search(shape.error, message)
            if not shape.advice:
                return
            outcome = evaluated(shape, run, advised(shape, message))
        assert_right(shape, run, *outcome)


@each(REFUSED)
@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_what_is_no_classifier_is_refused_before_training(run, shape):
    with said_only(shape), pytest.raises(ValueError, match=shape.error):
        evaluated(shape, run, shape.options)


@each(CLASSIFIERS)
def test_every_shape_trains_without_us_and_has_figures_that_tell(shape):
    with said_only(shape):
        module = shape.make()
        assert_telling(shape, module)
        ran(toys.quiet(**shape.trainer), module, shape, "fit and test")
        assert_telling(shape, module)


def assert_telling(shape, module):
    """Some rows are right and some wrong, several classes are predicted, and the stages differ."""
    of_stages = []
    for stage in ("val", "test"):
        rows = by_hand(shape, module, stage)
        of_stages.append({key.removeprefix(stage): figures(shape, *pair) for key, pair in rows.items()})
        for one in of_stages[-1].values():
            assert 0 < one["accuracy"] < 1
            assert ((one["counts"].sum(-2) > 0).sum(-1) > 1).all(), "one class alone is predicted"
    assert of_stages[0].keys() == of_stages[1].keys()
    for name, on_val in of_stages[0].items():
        assert on_val["counts"].tolist() != of_stages[1][name]["counts"].tolist()


@each(REFUSED)
def test_what_is_refused_trains_without_us(shape):
    module = shape.make()
    ran(toys.quiet(), module, shape, "fit and test")


def test_there_are_shapes_enough():
    assert len(SHAPES) >= 48
