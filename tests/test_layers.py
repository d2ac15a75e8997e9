"""Who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_posttrain

ROOT = Path(lightning_posttrain.__file__).parent
BOTTOM = {"__about__", "artifacts", "batch", "buffers", "calibrators", "fields", "results", "rows", "sampling", "tasks"}
LIGHTNING = {"epoch", "evaluation", "forward", "guests", "loaders", "ranks", "sharing", "stream"}
STREAM = {*LIGHTNING, "accumulator", "capture", "checks", "desk", "reading", "step", "tap"}
MAY = {
    **dict.fromkeys(BOTTOM, BOTTOM),
    "functional": BOTTOM | {"functional"},
    "metrics": BOTTOM | {"functional", "metrics"},
    "attribution": BOTTOM | {"functional", "attribution"},
    "render": BOTTOM | {"render"},
    "sinks": {"artifacts", "sinks"},
    **{name: BOTTOM | STREAM | {"metrics"} for name in STREAM},
}
BACKENDS = {"captum": {"attribution"}, "matplotlib": {"render"}, "lightning": {*LIGHTNING, "callbacks"}}


def layer(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "lightning_posttrain" and len(parts) > 1:
            assert parts[1] in MAY.get(layer(path), {parts[1]}), f"{path} imports {name}"
            assert parts[1] != "callbacks" or layer(path) == "callbacks"
        elif parts[0] in BACKENDS:
            assert layer(path) in BACKENDS[parts[0]], f"{path} imports {name}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import lightning_posttrain", {"captum", "matplotlib", "lightning"}),
        ("import lightning_posttrain.functional", {"captum", "matplotlib", "lightning"}),
        ("import lightning_posttrain.sinks", {"captum", "matplotlib", "lightning", "tensorboard"}),
        ("from lightning_posttrain import ClassificationMetrics, ConfusionMatrix", {"captum"}),
    ],
)
def test_heavy_parts_load_when_they_are_used(statement, absent):
    code = f"{statement}\nimport sys\nprint(sorted({absent!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
