import json
import os

import pytest

from tests import toys

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")]


def test_figures_are_those_of_the_first_rank_on_all_and_maps_are_on_the_first(tmp_path):
    toys.ran("tests.feature_maps.two_ranks", str(tmp_path), timeout=150)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert (first["stages"], second["stages"]) == (4, 0)
    assert len(first["seen"]) == 12
    assert first["seen"] == second["seen"]
    # of the second epoch; the third, which was not due, is drawn at the end on the first rank
    assert {f"val/{name}": value for name, value in second["scalars"].items()} == pytest.approx(second["seen"])
    assert (tmp_path / "posttrain" / "val" / "feature_maps.png").exists()
