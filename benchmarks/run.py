"""Runs the benchmarks one after the other and writes the table of the project's README from what they print.

    python benchmarks/run.py [--device cuda] [--rounds 3] [--only by_hand saliency] [--dry]

Each runs in a process of its own and prints as it does by itself. A figure that a benchmark did not print is missing in
the table, and ends this with an error; with ``--only`` the other rows stay as they are. On a GPU a column of its own is
written, with the card's name and the date.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- benchmarks/run.py: -->", "<!-- :benchmarks/run.py -->"
NUMBER = r"(\d+(?:,\d{3})*(?:\.\d+)?)"
DEMO = "examples/digits.py"


@dataclass(frozen=True)
class Figure:
    """A row of the table.

    Args:
        name: what is measured, as the table says it.
        script: that prints it, by its name here.
        patterns: of the text that it prints, each with one group, of the numbers that ``form`` puts together.
        form: of the cell.
    """

    name: str
    script: str
    patterns: tuple[str, ...]
    form: str

    def read(self, text: str) -> str | None:
        """The cell, from what the script printed; None where a number is not there."""
        found = [re.search(pattern, text, re.DOTALL) for pattern in self.patterns]
        return self.form.format(*(one[1] for one in found if one)) if all(found) else None


def _at(rows: str, classes: str, who: str) -> str:
    """How many times ours somebody takes, in the table of a size."""
    return rf"N = {rows}, C = {classes}, .*?\n{re.escape(who)} +(?:[\d.]+ +){{4}}{NUMBER}"


def _update(classes: str) -> str:
    return rf"C = +{classes}, batch  256: counts {NUMBER}"


def _joined(classes: str) -> str:
    """Seconds, in the line of so many classes."""
    return rf"\| {classes} classes[^|]*\|[^|]*\|[^|]*\|[^|]*\| {NUMBER}"


FIGURES = (
    Figure(
        "eleven torchmetrics by hand, with a picture and a table, of 24,000 rows × 120 classes: times ours",
        "by_hand",
        (rf"ClassificationMetrics, ConfusionMatrix \| [\d.]+ \| {NUMBER} ×",),
        "{} ×",
    ),
    Figure(
        "torchmetrics' counts and exact areas, of 10,000 rows × 100 classes and of 50,000 × 1,000: times ours",
        "accumulate",
        (_at("10,000", "100", "torchmetrics, exact areas"), _at("50,000", "1,000", "torchmetrics, exact areas")),
        "{} ×, {} ×",
    ),
    Figure(
        "an update of 256 rows × 10, 100, 1,000 classes, in argmaxes of the batch",
        "accumulate",
        (_update("10"), _update("100"), _update("1,000")),
        "{}, {}, {}",
    ),
    Figure(
        "six saliency maps of a ResNet-18 at 224 px, in passes of the model; captum's three",
        "saliency",
        (rf"six[^|]*\| {NUMBER}", rf"captum[^|]*\| {NUMBER}"),
        "{}; {}",
    ),
    Figure(
        "`SaliencyMaps` on a test of a ResNet-18 at 32 px, with how faithful each method is",
        "fit",
        (rf"\| SaliencyMaps \|[^|]*\|[^|]*\| {NUMBER}",),
        "{} s",
    ),
    Figure(
        "optional work of the suite in a fit with `max_overhead=0.05`, its last evaluation included",
        "overhead",
        (rf"max_overhead=0\.05\)` \|[^|]*\|[^|]*\| {NUMBER}%",),
        "{} %",
    ),
    Figure(
        "an epoch's end on each of 1,024 ranks, states of 1,000 and of 100,000 classes",
        "scale",
        (_joined("1,000"), _joined("100,000")),
        "{} s, {} s",
    ),
    Figure(
        "`make demo` without its installation: digits, trained, tested and reported",
        DEMO,
        (rf"took {NUMBER} s",),
        "{} s",
    ),
)
ARGUMENTS: Mapping[str, Sequence[str]] = {
    "fit": ("--rows", "64", "--only", "bare", "SaliencyMaps"),
    "overhead": ("--only", "0.05", "--epochs", "150", "--rounds", "1"),
}
HAVE_DEVICE = frozenset({"accumulate", "saliency", "overhead"})
HAVE_ROUNDS = frozenset({"accumulate", "saliency", "by_hand", "fit"})


def printed(script: str, device: str, rounds: int) -> str:
    """What a script prints, on the way shown."""
    path = ROOT / script if script == DEMO else ROOT / "benchmarks" / f"{script}.py"
    more = [*ARGUMENTS.get(script, ())]
    more += ["--device", device] if script in HAVE_DEVICE else []
    more += ["--rounds", str(rounds)] if script in HAVE_ROUNDS else []
    print(f"## {script} {' '.join(more)}\n", flush=True)
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, str(path), *more], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        check=False,
    )  # fmt: skip
    text = f"{run.stdout}\ntook {time.perf_counter() - began:.0f} s, exit code {run.returncode}\n"
    print(text, flush=True)
    return text


def table(cells: Mapping[str, Mapping[str, str]]) -> str:
    """The table, with a column for each heading in ``cells``, by heading and by what is measured."""
    lines = [f"| | {' | '.join(cells)} |", "|---" * (1 + len(cells)) + "|"]
    rows = (f"| {one.name} | {' | '.join(column.get(one.name, '') for column in cells.values())} |" for one in FIGURES)
    return "\n".join([*lines, *rows])


def cells_of(text: str) -> dict[str, dict[str, str]]:
    """The cells of a table that was written before; rows that are measured no more are left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    if len(rows) < 2:
        return {}
    names = {one.name for one in FIGURES}
    return {
        heading: {row[0]: row[place] for row in rows[2:] if row[0] in names}
        for place, heading in enumerate(rows[0])
        if place
    }


def written(readme: str, heading: str, device: str, found: Mapping[str, str]) -> str:
    """The README with new cells in the column of a device, whose heading tells where and when.

    Raises:
        ValueError: there is no place for the table.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"README.md has no lines {BEGIN!r} and {END!r}, between which the table is written; add them.")
    before, rest = readme.split(BEGIN)
    old, after = rest.split(END)
    cells = cells_of(old)
    mine = next((one for one in cells if one.startswith("CPU") == (device == "cpu")), heading)
    columns = {(heading if one == mine else one): column for one, column in {mine: {}, **cells}.items()}
    columns[heading] = {**columns[heading], **found}
    ordered = dict(sorted(columns.items(), key=lambda one: not one[0].startswith("CPU")))
    return f"{before}{BEGIN}\n{table(ordered)}\n{END}{after}"


def measured(scripts: Iterable[str], device: str, rounds: int) -> tuple[dict[str, str], list[str]]:
    """The cells that scripts gave, and what is missing."""
    found, missing = {}, []
    for script in scripts:
        text = printed(script, device, rounds)
        for figure in (one for one in FIGURES if one.script == script):
            cell = figure.read(text)
            if cell is None:
                missing.append(f"{script}: {figure.name}")
            else:
                found[figure.name] = cell
    return found, missing


def main() -> None:
    scripts = list(dict.fromkeys(figure.script for figure in FIGURES))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=scripts, default=scripts)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU, one thread"
    heading = f"{where}, {date.today().isoformat()}, torch {torch.__version__.split('+')[0]}"
    found, missing = measured(arguments.only, arguments.device, arguments.rounds)
    print(table({heading: found}))
    if not arguments.dry:
        readme = ROOT / "README.md"
        readme.write_text(written(readme.read_text("utf-8"), heading, arguments.device, found), "utf-8")
    if missing:
        sys.exit("not printed by their benchmark: " + "; ".join(missing))


if __name__ == "__main__":
    main()
