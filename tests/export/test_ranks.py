"""Two ranks: one export by the first, the same result on both, and in the process that began them."""

import json

import pytest

from tests import toys

pytestmark = pytest.mark.slow


def found(folder, kind):
    toys.ran("tests.export.two_ranks", str(folder), kind, timeout=120)
    return [json.loads((folder / f"{name}.json").read_text()) for name in ("rank0", "rank1", "main")]


@pytest.mark.parametrize(("kind", "rows"), [("plain", 30), ("uneven", 11), ("slow", 30)])
def test_all_ranks_have_the_result_of_the_first(tmp_path, kind, rows):
    first, second, main = found(tmp_path, kind)
    assert first == second
    assert main["val"] == first["val"]
    assert first["val"]["formats"][0]["rows"] == rows
    assert main["test"]["formats"][0]["rows"] == 25
    assert first["val"]["remarks"] == main["test"]["remarks"] == ["compared on the rows of the first of 2 ranks"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "manifest.json", "model.pt2"}
    assert not list(tmp_path.glob(".out*"))


def test_a_first_rank_that_cannot_write_keeps_no_other_waiting(tmp_path):
    assert found(tmp_path, "not ours") == [{}, {}, {}]
    assert (tmp_path / "out").read_text() == "mine"
