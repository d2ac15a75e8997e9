"""Who may import whom, how large a room may be, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median, median_low

import pytest

import lightning_posttrain

ROOT = Path(lightning_posttrain.__file__).parent
OURS = "lightning_posttrain"

# parts of core, each with those below it that it may import
CORE = {
    "lazy": set(),
    "statistics": set(),
    "output": set(),
    "drawing": {"output", "statistics"},
    "runs": set(),
    "capture": {"output", "statistics"},
    "stream": {"capture", "output", "statistics"},
    "callback": {"stream", "capture", "output", "statistics"},
}
# wings, each with those whose faces it may import
USES = {
    "attribution": set(),
    "classification": set(),
    "calibration": {"classification"},
    "thresholds": {"classification"},
    "hard_examples": {"classification"},
    "label_errors": {"classification", "hard_examples"},
    "saliency": {"attribution", "classification"},
    "explanations": {"attribution", "classification"},
    "torchmetrics": {"classification"},
    "ensembles": {"classification", "calibration", "thresholds", "hard_examples"},
    "tuning": {"classification", "calibration", "thresholds", "ensembles"},
    "export": {"classification", "calibration", "thresholds", "ensembles"},
    "profile": {"classification"},
    "feature_maps": {"attribution", "classification"},
    "serving": {"export"},
    "report": {
        "classification",
        "calibration",
        "thresholds",
        "hard_examples",
        "label_errors",
        "saliency",
        "explanations",
        "torchmetrics",
        "ensembles",
        "tuning",
        "profile",
        "feature_maps",
        "export",
    },
}
FLOORS = {"core": set(), "samples": {"attribution"}}
DOORS = {"__about__", "__init__", "__main__", "calibrators", "functional", "suite"}
# public names of attribution that live in a wing that stands on it, and are imported when they are asked for
HANDED_ON = {("attribution/__init__.py", "explanations")}

BACKENDS = {
    "captum": {"attribution/captum_methods.py"},
    "matplotlib": {"core/drawing", "render"},
    "optuna": {"tuning"},
    "onnx": {"export"},
    "onnxscript": {"export"},
    "onnxruntime": {"export"},
    "safetensors": {"export"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "lightning": {
        "core/capture",
        "core/stream",
        "core/callback",
        "core/runs",
        "callback",
    },
}


def nodes(path):
    """Import statements, but those for types alone."""
    waiting = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def imported(path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            yield node.module, [alias.name for alias in node.names]
        else:
            yield from ((alias.name, []) for alias in node.names)


def public(*parts):
    """Names of a face, among them some that are of modules too."""
    face = ROOT.joinpath(*parts, "__init__.py")
    listed = [n.value for n in ast.parse(face.read_text()).body if isinstance(n, ast.Assign)] if face.exists() else []
    return {name.value for value in listed if isinstance(value, ast.List) for name in value.elts}


def place(path):
    return path.relative_to(ROOT).as_posix()


FILES = sorted(ROOT.rglob("*.py"), key=place)
each_file = pytest.mark.parametrize("path", FILES, ids=place)


def ours(path):
    """The parts of the dotted name of each import of ours, down to the module."""
    for module, names in imported(path):
        parts = module.split(".")
        if parts[0] == OURS:
            for name in names or [""]:
                below = ROOT.joinpath(*parts[1:], name) if name else ROOT
                is_module = (below.with_suffix(".py").exists() or below.is_dir()) and name not in public(*parts[1:])
                yield (*parts[1:], name) if is_module else tuple(parts[1:])


@each_file
def test_imports_keep_to_the_table(path):
    room = place(path).removesuffix(".py").split("/")
    for to in filter(None, ours(path)):
        if room[0] in DOORS:
            assert len(to) == 1 or to[0] in FLOORS, f"{place(path)} reaches into {to}"
        elif to[0] == "__about__":
            pass
        elif room[0] == "core":
            assert to[0] == "core", f"{place(path)} imports {to}"
            assert room[1] == to[1] or to[1] in CORE[room[1]], f"{place(path)} imports {to}"
        elif to[0] in (room[0], "core") or (to[0] == "samples" and room[0] != "attribution"):
            pass
        else:
            allowed = {**USES, **FLOORS}[room[0]]
            assert to[0] in allowed, f"{place(path)} imports {to}, which the table of uses has not"
            assert len(to) == 1, f"{place(path)} reaches into {to}, wanted the face {to[0]}"


@each_file
def test_a_backend_is_imported_in_its_rooms_alone(path):
    for module, _ in imported(path):
        rooms = BACKENDS.get(module.split(".")[0])
        if rooms is not None:
            parts = place(path).removesuffix(".py").split("/")
            known = any(place(path).startswith(room) for room in rooms) or rooms & set(parts[1:2])
            assert known, f"{place(path)} imports {module}"


def test_there_is_no_cycle_between_folders():
    graph = {}
    for path in FILES:
        here = place(path).split("/")[0]
        graph.setdefault(here, set()).update(to[0] for to in ours(path) if to and to[0] != here)
    graph = {here: {to for to in uses if to in graph} for here, uses in graph.items()}
    while graph:
        leaves = {here for here, uses in graph.items() if not uses}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {here: uses - leaves for here, uses in graph.items() if here not in leaves}


def test_only_what_is_written_down_is_handed_on():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazily":
                homes = ast.literal_eval(node.args[1])
                wing = place(path).split("/")[0]
                away = {home.split(".")[1] for home in homes} - {wing}
                assert wing in DOORS or wing == "__init__.py" or {(place(path), to) for to in away} <= HANDED_ON


def test_every_wing_has_a_face_with_sorted_names():
    for wing in USES:
        text = (ROOT / wing / "__init__.py").read_text()
        assert "__all__ = [" in text
        assert text.startswith('"""')


def test_the_root_has_few_modules_beside_the_folders():
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert loose <= DOORS
    assert len(loose - {"__init__"}) <= 5


def code_of(node, lines):
    """Lines of code of a function or class: without docstrings, comments and empty ones."""
    silent = set()
    for inner in ast.walk(node):
        if isinstance(inner, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(inner) is not None:
            silent.update(range(inner.body[0].lineno, inner.body[0].end_lineno + 1))
    span = range(node.lineno, node.end_lineno + 1)
    return sum(bool(lines[i - 1].strip()) and lines[i - 1].strip()[0] != "#" for i in span if i not in silent)


def sizes(kind, wanted=lambda node: True):
    for path in FILES:
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kind) and wanted(node):
                yield f"{place(path)}:{node.name}", code_of(node, lines)


def test_no_file_and_no_function_has_outgrown_its_room():
    long = {place(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > 250} == {}
    functions = dict(sizes(ast.FunctionDef))
    assert {name: lines for name, lines in functions.items() if lines > 40} == {}
    assert median(functions.values()) <= 6


def test_callbacks_are_thin_shells():
    def final(node):
        return any(getattr(decorator, "id", "") == "final" for decorator in node.decorator_list)

    shells = {name: lines for name, lines in sizes(ast.ClassDef, final) if "callback" in name}
    assert len(shells) == 17
    assert median_low(shells.values()) <= 45


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import lightning_posttrain", {"captum", "matplotlib", "lightning"}),
        ("import lightning_posttrain.functional", {"captum", "matplotlib", "lightning"}),
        ("from lightning_posttrain.attribution import lime, shapley, anchor", {"captum", "matplotlib", "lightning"}),
        ("import lightning_posttrain.calibrators", {"captum", "matplotlib", "lightning"}),
        ("import lightning_posttrain.core.output.sinks", {"captum", "matplotlib", "lightning", "tensorboard"}),
        ("from lightning_posttrain import ClassificationMetrics, ConfusionMatrix", {"captum"}),
    ],
)
def test_heavy_parts_load_when_they_are_used(statement, absent):
    code = f"{statement}\nimport sys\nprint(sorted({absent!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
