"""The table of the README is what the benchmarks print, and says all of it."""

from pathlib import Path

import pytest

from benchmarks.run import FIGURES, Figure, cells_of, written

ROOT = Path(__file__).parents[1]
ONE, TWO = FIGURES[0].name, FIGURES[1].name
README = "before\n<!-- benchmarks/run.py: -->\n<!-- :benchmarks/run.py -->\nafter\n"


def test_the_readme_has_a_figure_in_each_row_of_its_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    cells = cells_of(text.split("<!-- benchmarks/run.py: -->")[1].split("<!-- :benchmarks/run.py -->")[0])
    (heading,) = [one for one in cells if one.startswith("CPU")]
    assert cells[heading].keys() == {figure.name for figure in FIGURES}
    assert all(cells[heading].values())


def test_a_figure_is_read_from_what_its_benchmark_prints_or_is_missing():
    figure = Figure("maps", "saliency", (r"six[^|]*\| ([\d.]+)", r"captum[^|]*\| ([\d.]+)"), "{}; {}")
    assert figure.read("| six maps of ours | 0.99 |\n| three of captum | 2.43 |") == "0.99; 2.43"
    assert figure.read("| six maps of ours | 0.99 |") is None


def test_new_figures_take_the_place_of_those_of_the_same_kind_of_device_and_no_others():
    first = written(README, "CPU, Monday", "cpu", {ONE: "7 ×", TWO: "3 ×"})
    both = written(first, "H100, Tuesday", "cuda", {ONE: "9 ×"})
    last = written(both, "CPU, Wednesday", "cpu", {TWO: "4 ×"})
    assert last.startswith("before\n")
    assert last.endswith("after\n")
    cells = cells_of(last)
    assert list(cells) == ["CPU, Wednesday", "H100, Tuesday"]
    assert (cells["CPU, Wednesday"][ONE], cells["CPU, Wednesday"][TWO]) == ("7 ×", "4 ×")
    assert (cells["H100, Tuesday"][ONE], cells["H100, Tuesday"][TWO]) == ("9 ×", "")


def test_a_readme_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="has no lines"):
        written("nothing", "CPU", "cpu", {})
