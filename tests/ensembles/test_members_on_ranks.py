"""On two ranks each runs the members on its own rows, as a test of each on two ranks does."""

import pytest
import torch

from tests import toys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks")
    toys.ran("tests.ensembles.members_on_two_ranks", str(path), timeout=240)
    return path


def loaded(folder, name, rank):
    return torch.load(folder / f"{name}.rank{rank}.pt", weights_only=True)


def same(a, b):
    return (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("rank", [0, 1])
def test_members_in_one_pass_are_those_of_a_test_each(folder, rank):
    together = loaded(folder, "together", rank)
    assert len(together["members"]) == 5
    for place in range(3):
        own = loaded(folder, f"apart-{place}", rank)["own"]
        for batches, wanted in zip(together["members"], own, strict=True):
            assert all(same(mine, theirs) for mine, theirs in zip(batches[place], wanted, strict=True))


def test_the_ranks_had_rows_of_their_own(folder):
    first, second = (torch.cat([scores for scores, *_ in loaded(folder, "together", rank)["own"]]) for rank in (0, 1))
    assert len(first) == len(second) == 19
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_pass_after_the_fit_reads_what_validation_read(folder, rank):
    found = loaded(folder, "passing", rank)
    assert len(found["passed"]) == len(found["validated"]) > 0
    assert all(map(torch.equal, found["passed"], found["validated"]))


def test_statistics_are_the_same_on_all_ranks(folder):
    first, second = (loaded(folder, "passing", rank)["mark"] for rank in (0, 1))
    assert first == second
