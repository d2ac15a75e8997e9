import json
import subprocess
import sys
import threading
import timeit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score

from lightning_posttrain.export.drift.functional import estimated_accuracy, limit, psi
from lightning_posttrain.export.drift.reference import DriftReference, DriftReferenceBuilder
from lightning_posttrain.export.drift.rows import row_confidence
from lightning_posttrain.export.drift.watch import DriftWatch
from tests.export.drift.models import MODELS, classes, labels, pictures, withheld


def rng(seed=0):
    return np.random.default_rng(seed)


def in_batches(arrays, sizes):
    stops = np.cumsum(sizes)
    return zip(*(np.split(array, stops) for array in arrays), strict=True)


class Digits:
    """A classifier of half of the digits; of the others, some are the reference and some are asked."""

    def __init__(self):
        data = load_digits()
        order = rng().permutation(len(data.target))
        self.images, self.target = data.images[order] / 16, data.target[order]
        self.model = LogisticRegression(max_iter=500).fit(self.flat(self.images[:600]), self.target[:600])
        self.reference = DriftReference.of(*self.answers(self.images[600:1200]), self.target[600:1200])

    def flat(self, images):
        return images.reshape(len(images), -1)

    def answers(self, images):
        said = self.model.predict_proba(self.flat(images)).astype(np.float32)
        return said, said.argmax(axis=1)

    def watched(self, images):
        watch = DriftWatch(self.reference, window=len(images))
        watch.add(*self.answers(images))
        return watch


@pytest.fixture(scope="module")
def digits():
    return Digits()


def turned(images):
    return ndimage.rotate(images, 60, axes=(1, 2), reshape=False, order=1)


def noisy(images):
    return images + 0.4 * rng().normal(size=images.shape)


def test_digits_of_the_other_half_raise_no_alarm(digits):
    watch = digits.watched(digits.images[1200:])
    assert watch.figures()["alarm"] == 0
    assert watch.words().startswith("no sign of drift in answers 1 to 597: confidence (PSI ")


@pytest.mark.parametrize("change", [turned, noisy])
def test_digits_that_are_turned_or_noisy_raise_an_alarm(digits, change):
    watch = digits.watched(change(digits.images[1200:]))
    assert watch.figures()["alarm"] == 1
    assert watch.words().startswith("drift: answers 1 to 597 are unlike the reference in ")


def test_digits_of_few_classes_raise_an_alarm(digits):
    asked = digits.images[1200:][digits.target[1200:] < 5]
    figures = digits.watched(asked).figures()
    assert figures["psi_class"] > figures["limit_class"]


def test_accuracy_of_the_reference_is_that_of_scikit_learn(digits):
    _, decision = digits.answers(digits.images[600:1200])
    assert digits.reference.accuracy == accuracy_score(digits.target[600:1200], decision)


def test_accuracy_at_most_about_is_the_estimate_of_the_paper(digits):
    asked = noisy(digits.images[1200:])
    confidence = row_confidence(digits.answers(asked)[0], "multiclass")
    figures = digits.watched(asked).figures()
    assert figures["accuracy_at_most_about"] == estimated_accuracy(confidence, digits.reference.threshold)
    assert figures["accuracy_at_most_about"] < figures["reference_accuracy"] == digits.reference.accuracy


@pytest.mark.parametrize(
    ("model", "drifted"),
    [
        ("classes", lambda r, n: classes(r, n, scale=1.0)),
        ("sure", lambda r, n: classes(r, n, scale=4.0)),
        ("hundred", lambda r, n: classes(r, n, number=100, scale=1.5)),
        ("withheld", lambda r, n: (classes(r, n)[0], np.full(n, -1))),
        ("labels", lambda r, n: labels(r, n, level=0.5)),
        ("pictures", lambda r, n: pictures(r, n, lean=1.0)),
    ],
)
def test_drift_of_each_task_raises_an_alarm(model, drifted):
    draw, task = MODELS[model]
    watch = DriftWatch(DriftReference.of(*draw(rng(1), 1000), task=task), window=500)
    watch.add(*draw(rng(2), 500))
    assert watch.figures()["alarm"] == 0
    watch.add(*drifted(rng(3), 500))
    assert watch.figures()["alarm"] == 1


def test_the_alarm_stands_until_the_next_window_is_complete():
    watch = DriftWatch(DriftReference.of(*classes(rng(), 1000)), window=100)
    watch.add(*classes(rng(1), 100, scale=0.3))
    watch.add(*classes(rng(2), 99))
    assert watch.figures()["alarm"] == 1
    watch.add(*classes(rng(3), 1))
    assert watch.figures()["alarm"] == 0
    assert "answers 101 to 200:" in watch.words()


def test_figures_are_those_of_a_slow_count():
    reference, now = classes(rng(1), 500), classes(rng(2), 200, scale=1.5)
    made = DriftReference.of(*reference)
    watch = DriftWatch(made, window=200, alarms=0.01)
    watch.add(*now)

    def counted(probabilities):
        bins = [sum(edge <= value for edge in made.edges) for value in row_confidence(probabilities, "multiclass")]
        return [bins.count(place) for place in range(len(made.edges) + 1)]

    assert counted(reference[0]) == list(made.confidence_counts)
    figures = watch.figures()
    assert min(made.confidence_counts) > 25  # ten rows a bin are expected of a window: none is pooled
    assert figures["psi_confidence"] == psi(made.confidence_counts, counted(now[0]))
    assert figures["limit_confidence"] == limit(500, 200, 10, 0.005)


def test_words_hold_the_figures():
    watch = DriftWatch(DriftReference.of(*(drawn := classes(rng(), 1000)), drawn[1]), window=100)
    watch.add(*classes(rng(1), 1100, scale=0.5))
    found = watch.figures()
    assert watch.words() == (
        "drift: answers 1,001 to 1,100 are unlike the reference in confidence "
        f"(PSI {found['psi_confidence']:.3f}, limit {found['limit_confidence']:.3f}); not so predicted classes "
        f"(PSI {found['psi_class']:.3f}, limit {found['limit_class']:.3f}); "
        f"accuracy at most about {found['accuracy_at_most_about']:.3f}, 1.000 on the reference."
    )


def test_before_a_window_is_complete_there_are_too_few_answers():
    watch = DriftWatch(DriftReference.of(*classes(rng(), 1000)))
    assert watch.figures() == {"alarm": 0.0, "rows": 0.0, "window": 1000.0}
    watch.add(*classes(rng(), 412))
    assert watch.words() == "too few answers yet: 412 of the 1,000 that are compared at a time."
    assert "psi_confidence" not in watch.figures()
    assert watch.figures()["psi_confidence_since_start"] >= 0


def test_figures_are_plain_floats():
    watch = DriftWatch(DriftReference.of(*(drawn := classes(rng(), 100)), drawn[1]), window=50)
    watch.add(*classes(rng(), 60))
    assert {type(value) for value in watch.figures().values()} == {float}
    assert len(watch.figures()) == 14


@given(st.lists(st.integers(0, 120), max_size=6), st.randoms())
@settings(max_examples=25)
def test_neither_the_split_into_batches_nor_the_order_in_a_window_matters(sizes, random):
    reference, drawn = DriftReference.of(*withheld(rng(), 300)), withheld(rng(1), 400)
    whole, parts = DriftWatch(reference, window=200), DriftWatch(reference, window=200)
    whole.add(*drawn)
    order = np.concatenate([random.sample(range(200), 200), random.sample(range(200, 400), 200)]).astype(int)
    for batch in in_batches([array[order] for array in drawn], sizes):
        parts.add(*batch)
    assert parts.figures() == whole.figures()
    assert parts.words() == whole.words()


def test_a_batch_is_counted_in_microseconds():
    watch, batch = DriftWatch(DriftReference.of(*classes(rng(), 1000))), classes(rng(), 64)
    seconds = min(timeit.repeat(lambda: watch.add(*batch), number=100, repeat=10)) / 100
    assert seconds < 1e-4  # 15 µs where nothing else runs


def test_a_watch_needs_no_torch():
    code = "import lightning_posttrain.export, sys; print('torch' in sys.modules, 'lightning' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_threads_lose_no_answer():
    watch = DriftWatch(DriftReference.of(*classes(rng(), 100)), window=64)
    batch = classes(rng(), 7)
    threads = [threading.Thread(target=lambda: [watch.add(*batch) for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.figures()["rows"] == 4 * 300 * 7


@given(st.lists(st.integers(0, 120), max_size=6))
@settings(max_examples=25)
def test_a_reference_of_batches_is_that_of_all_rows_at_once(sizes):
    drawn = withheld(rng(), 300)
    target = np.where(rng(1).random(300) < 0.8, drawn[1], 3)
    builder = DriftReferenceBuilder(task="multiclass")
    for batch in in_batches([*drawn, target], sizes):
        builder.add(*batch)
    assert builder.reference() == DriftReference.of(*drawn, target)


def test_a_reference_of_many_rows_keeps_a_sample_of_their_confidence():
    builder = DriftReferenceBuilder(task="multiclass", most_kept=2000)
    for step in range(50):
        # the first rows are surer: a sample of the last or the first alone would show it
        builder.add(*(drawn := classes(rng(step), 400, scale=4.0 if step < 25 else 1.0)), drawn[1])
    found = builder.reference()
    assert (found.rows, sum(found.class_counts), sum(found.confidence_counts)) == (20_000, 20_000, 2000)
    everything = [
        row_confidence(classes(rng(step), 400, scale=4.0 if step < 25 else 1.0)[0], "multiclass") for step in range(50)
    ]
    shares = np.searchsorted(np.sort(np.concatenate(everything)), found.edges) / 20_000
    assert shares == pytest.approx(np.arange(1, 10) / 10, abs=0.04)


def test_a_reference_comes_back_from_json():
    drawn = classes(rng(), 200)
    reference = DriftReference.of(*drawn, drawn[1])
    assert DriftReference.from_dict(json.loads(json.dumps(reference.to_dict(), allow_nan=False))) == reference


def test_a_reference_of_very_many_classes_is_small():
    decision = rng().integers(0, 100_000, 3000)
    builder = DriftReferenceBuilder(task="multiclass")
    for start in range(0, 3000, 100):
        said = np.full((100, 100_000), 1e-6, np.float32)
        said[np.arange(100), decision[start : start + 100]] = 0.9
        builder.add(said, decision[start : start + 100])
    reference = builder.reference()
    assert 50 < len(reference.class_counts) <= 200
    assert sum(reference.class_counts) == 3000
    watch = DriftWatch(reference, window=100)
    for chosen, alarm in ((rng(1).integers(0, 100_000, 100), 0), (np.full(100, 77_777), 1)):
        said = np.full((100, 100_000), 1e-6, np.float32)
        said[np.arange(100), chosen] = 0.9
        watch.add(said, chosen)
        assert watch.figures()["alarm"] == alarm


def test_rows_without_an_answer_or_a_target_say_nothing_of_accuracy():
    said, decision = classes(rng(), 100)
    decision[:20], target = -1, decision.copy()
    target[20:30] = -100
    target[30:40] = (decision[30:40] + 1) % 10
    assert DriftReference.of(said, decision, target).accuracy == 60 / 70
    assert DriftReference.of(said, decision).accuracy is None
    assert DriftReference.of(said, decision, np.full(100, -1)).threshold is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": "many"}, "'rows' is 'many'"),
        ({"task": "regression"}, "'task' is 'regression'"),
        ({"edges": [2.0, 1.0]}, "'edges' rise"),
        ({"edges": []}, "'edges' rise"),
        ({"edges": None}, "'edges' is no list"),
        ({"class_counts": [1, 2]}, "counts are whole numbers with 30 rows at least"),
        ({"class_counts": [50, None]}, "counts are whole numbers"),
        ({"class_starts": [0, "a"]}, "'class_starts' rise from -1"),
        ({"threshold": float("nan")}, "'threshold' is nan"),
        ({"threshold": 10**400}, "'threshold' is 1000"),
        ({"accuracy": [0.5]}, "'accuracy' is"),
        ({"class_starts": [-1], "class_counts": [100]}, "'class_starts' rise from -1"),
        ({"confidence_counts": [10**40] * 10}, "counts are whole numbers"),
    ],
)
def test_a_reference_that_was_changed_is_refused(change, words):
    saved = DriftReference.of(*classes(rng(), 100)).to_dict()
    with pytest.raises(ValueError, match=words):
        DriftReference.from_dict({**saved, **change})


@pytest.mark.parametrize("saved", [None, [], {}, {"rows": 3}])
def test_what_is_no_reference_is_refused(saved):
    with pytest.raises(ValueError, match=r"'reference' has .*Export the model again"):
        DriftReference.from_dict(saved)


def test_starts_that_leave_out_no_answer_are_refused():
    saved = DriftReference.of(*classes(rng(), 100)).to_dict()
    saved["class_starts"] = [start + 1 for start in saved["class_starts"]]
    with pytest.raises(ValueError, match="'class_starts' rise from -1"):
        DriftReference.from_dict(saved)


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        (20, lambda p, d: (p, d), "A reference of 20 rows, wanted 30 at least"),
        (50, lambda p, d: (p, d[:, None]), r"wanted \(N, C, ...\) and \(N, ...\)"),
        (50, lambda p, d: (p[:, 0], d), r"wanted \(N, C, ...\)"),
        (50, lambda p, d: (p * np.nan, d), "is not finite"),
        (50, lambda p, d: (p, d, d[:9]), "`target` has 9 rows, wanted the 50 of `decision`"),
    ],
)
def test_rows_that_make_no_reference_are_refused(rows, change, words):
    with pytest.raises(ValueError, match=words):
        DriftReference.of(*change(*classes(rng(), rows)))


def test_batches_of_different_models_make_no_reference():
    builder = DriftReferenceBuilder(task="multiclass")
    builder.add(*classes(rng(), 10))
    with pytest.raises(ValueError, match="`probabilities` has 3 columns, wanted 10 as before"):
        builder.add(*classes(rng(), 10, number=3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 29}, "`window` is 29, wanted 30 answers at least"),
        ({"alarms": 1.0}, "`alarms` is 1.0, wanted a share"),
        ({"worth_saying": -1.0}, "`worth_saying` is -1.0, wanted 0 or more"),
    ],
)
def test_options_that_make_no_watch_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DriftWatch(DriftReference.of(*classes(rng(), 100)), **options)
