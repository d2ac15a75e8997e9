import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from lightning_posttrain.classification.functional.bootstrap import replicates
from lightning_posttrain.classification.functional.report import classification_report
from lightning_posttrain.classification.result.confusion import Confusion, LabelConfusion


def drawn_by_rows(counts, figure, resamples, seed):
    """The same interval by drawing rows one by one."""
    generator = np.random.default_rng(seed)
    place = np.repeat(np.arange(counts.numel()), counts.flatten().numpy())
    size = len(counts)
    found = []
    for _ in range(resamples):
        rows = generator.choice(place, len(place))
        found.append(figure(rows // size, rows % size))
    return np.quantile(found, [0.025, 0.975])


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("accuracy", sk.accuracy_score),
        ("mcc", sk.matthews_corrcoef),
        ("f1_macro", lambda a, p: sk.f1_score(a, p, average="macro")),
    ],
)
def test_intervals_are_those_of_rows_drawn_one_by_one(name, figure):
    counts = torch.tensor([[40, 5, 1], [8, 50, 6], [2, 2, 20]])
    found = classification_report(Confusion(counts, ("a", "b", "c")), resamples=2000).intervals[name]
    assert found == pytest.approx(drawn_by_rows(counts, figure, 1000, seed=5), abs=0.012)


def test_every_figure_from_counts_has_an_interval_around_it():
    for counted in (
        Confusion(torch.tensor([[40, 5], [8, 50]]), ("a", "b")),
        LabelConfusion(torch.tensor([[[40, 5], [8, 50]], [[90, 3], [4, 6]]]), ("a", "b"), rows=103, exact=90),
    ):
        report = classification_report(counted, resamples=500)
        for name in set(report.overall) - {"accuracy"}:
            low, high = report.intervals[name]
            assert low < report[name] < high, name
        for name, values in report.per_class.items():
            low, high = report.class_intervals[name]
            assert bool(((low <= values) & (values <= high)).all()), name


def test_the_interval_of_accuracy_covers_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(300):
        right = int((torch.rand(200, generator=generator) < 0.8).sum())
        counts = torch.tensor([[right, 200 - right], [0, 0]])
        low, high = classification_report(Confusion(counts, ("a", "b")), resamples=400).intervals["accuracy"]
        covered += low <= 0.8 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_it_draws_from_no_generator_of_others_and_the_same_each_time():
    counts = Confusion(torch.tensor([[40, 5], [8, 50]]), ("a", "b"))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second = (classification_report(counts, resamples=100).intervals for _ in range(2))
    assert first == second
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_a_matrix_with_very_many_cells_gets_fewer_replicates():
    counts = torch.ones(150, 150, dtype=torch.int64)
    drawn = replicates(Confusion(counts, tuple(map(str, range(150)))), 1000)
    assert sum(len(part.true_positive) for part in drawn) == 100


def test_few_rows_of_many_cells_are_drawn_as_binomial_draws_would_be():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(3, (30, 30), generator=generator)
    drawn = replicates(Confusion(counts, tuple(map(str, range(30)))), 1000)
    support = torch.cat([part.support for part in drawn])
    rows, share = int(counts.sum()), counts.sum(dim=1) / counts.sum()
    assert bool((support.sum(dim=1) == rows).all())
    spread = (rows * share * (1 - share)).sqrt()
    assert bool(((support.mean(dim=0) - counts.sum(dim=1)).abs() < 5 * spread / len(support) ** 0.5).all())
    assert torch.allclose(support.std(dim=0), spread.double(), rtol=0.15)
