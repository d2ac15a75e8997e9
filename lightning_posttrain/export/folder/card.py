"""``README.md`` of an exported folder: a model card that Hugging Face's parser reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_posttrain.export.folder.card_code import loading
from lightning_posttrain.export.folder.card_kind import pipeline_tag
from lightning_posttrain.export.folder.markup import cell, table, yaml_lines
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.signature import TensorSpec

MOST_NAMES = 50
"""Class names that a card lists; the manifest has all."""
_LIMITS = """\
The figures are of the rows named above; other data give others. Each file's SHA-256 is in `manifest.json`. This tells
damage and slips; as it is in the same folder, it proves no origin. `model.onnx` and `weights.safetensors` are formats
for files of strangers; a `.pt2` is opened only after a check that it runs no code, and a `.aoti.pt2` is native code."""


def card(manifest: Manifest) -> str:
    """The content of ``README.md``: YAML for machines, then what the model takes, gives and decides, in words.

    Args:
        manifest: of the folder; its ``files`` say which formats there are.
    """
    front = ["---", *yaml_lines(_front(manifest)), "---"]
    parts = [
        f"# {cell(manifest.name)}",
        _takes(manifest),
        _decides(manifest),
        _metrics(manifest),
        _parity(manifest),
        "## How to load it\n\n" + loading(manifest),
        _data(manifest),
        "## Limits\n\n" + _LIMITS,
    ]
    return "\n".join(front) + "\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _front(manifest: Manifest) -> dict[str, Any]:
    tag = pipeline_tag(manifest.signature, manifest.decision)
    front: dict[str, Any] = {"library_name": "lightning-posttrain"}
    if tag is not None:
        front["pipeline_tag"] = tag
    formats = [name for name, ending in (("onnx", ".onnx"), ("safetensors", ".safetensors")) if _has(manifest, ending)]
    front["tags"] = ["lightning", "lightning-posttrain", manifest.decision.task, *formats]
    results = list(_results(manifest, tag or "other"))
    if results:
        front["model-index"] = [{"name": manifest.name or "model", "results": results}]
    return front


def _has(manifest: Manifest, ending: str) -> bool:
    return any(name.endswith(ending) for name in manifest.files)


def _results(manifest: Manifest, task: str) -> Iterator[dict[str, Any]]:
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for stage, name, figure in manifest.figures():
        measured = {"type": name, "value": figure["value"], "name": name, "verified": False}
        by_stage.setdefault(stage, []).append(measured)
    for stage, measured_there in by_stage.items():
        dataset = {"name": f"{stage} rows of the run", "type": "private", "split": stage}
        yield {"task": {"type": task}, "dataset": dataset, "metrics": measured_there}


def _takes(manifest: Manifest) -> str:
    decision = manifest.decision
    inputs = [[spec.name, spec.dtype, _shape(spec), _range(manifest, spec.name)] for spec in manifest.signature.inputs]
    outputs = [[spec.name, spec.dtype, _shape(spec)] for spec in manifest.signature.outputs]
    inside = "Nothing is normalised inside: give rows as they come out of the transform of validation."
    if decision.mean is not None and decision.std is not None:
        inside = (
            f"Normalised inside, with mean {_numbers(decision.mean)} and standard deviation {_numbers(decision.std)}."
        )
    return "\n\n".join(
        [
            "## What it takes and gives",
            table(["input", "type", "shape", "rows that it was measured on"], inputs),
            inside + " `N` is the batch, of any size.",
            table(["output", "type", "shape"], outputs),
        ]
    )


def _shape(spec: TensorSpec) -> str:
    return spec.words.removeprefix(spec.dtype).strip()


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _range(manifest: Manifest, name: str) -> str:
    found = manifest.input_statistics.get(name)
    parts = found.items() if isinstance(found, Mapping) else ()
    return "; ".join(f"{part} {_few(value)}" for part, value in parts if value is not None)


def _few(value: Any) -> str:
    listed = value if isinstance(value, (list, tuple)) else [value]
    shown = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in listed[:4])
    return shown if len(listed) <= 4 else f"{shown}, …"


def _decides(manifest: Manifest) -> str:
    decision = manifest.decision
    said = [f"`decision` is {cell(decision.words)}."]
    if decision.confidence is not None:
        said.append("No answer is -1.")
    calibration = decision.calibration or {}
    if calibration:
        words = calibration.get("words") or calibration.get("method", "calibrated")
        rows = f", fitted on {calibration['rows']} rows of validation" if calibration.get("rows") else ""
        said.append(f"`probabilities` are calibrated: {cell(words)}{rows}. `decision` is made of those before.")
    else:
        said.append("`probabilities` are the network's own; they are not calibrated.")
    said += [f"Left out: {cell(why)}" for why in decision.left_out]
    return "\n\n".join(["## How it decides", " ".join(said), _classes(manifest)])


def _classes(manifest: Manifest) -> str:
    names, thresholds = manifest.decision.class_names, manifest.decision.thresholds
    if thresholds is not None and manifest.decision.task == "multilabel":
        listed = table(["index", "label", "threshold"], list(zip(range(MOST_NAMES), names, thresholds, strict=False)))
    else:
        listed = table(["index", "class"], list(zip(range(MOST_NAMES), names, strict=False)))
    more = len(names) - MOST_NAMES
    return listed if more <= 0 else f"{listed}\n\nand {more:,} more, in `manifest.json`."


def _metrics(manifest: Manifest) -> str:
    by_name: dict[str, dict[str, str]] = {}
    for stage, name, figure in manifest.figures():
        by_name.setdefault(name, {})[stage] = _figure(figure)
    if not by_name:
        return "## Figures\n\nIt was not tested: no figure is known of these weights."
    stages = list(dict.fromkeys(stage for stage, _, _ in manifest.figures()))
    head = table(
        ["figure", *(_stage(manifest, stage) for stage in stages)],
        [[name, *(found.get(stage) for stage in stages)] for name, found in by_name.items()],
    )
    return f"## Figures\n\nOf what it answers, with 95 % intervals where there are such.\n\n{head}"


def _stage(manifest: Manifest, stage: str) -> str:
    rows = manifest.metrics[stage].get("rows")
    return cell(stage) if rows is None else f"{cell(stage)}, {rows:,} rows"


def _figure(figure: Mapping[str, Any]) -> str:
    value, low, high = (figure.get(part) for part in ("value", "low", "high"))
    interval = "" if low is None or high is None else f" ({_four(low)} to {_four(high)})"
    return f"{_four(value)}{interval}"


def _four(value: Any) -> str:
    """In four places, so that figures stand below each other; what is very small or large in four digits."""
    plain = isinstance(value, float) and (not value or 0.001 <= abs(value) < 10)
    return f"{value:.4f}" if plain else cell(value)


def _parity(manifest: Manifest) -> str:
    """What ``FormatParity.to_dict`` gave, of each format."""
    formats = {name: found for name, found in manifest.parity.items() if isinstance(found, Mapping)}
    if not formats:
        return ""
    columns = ["format", "stage", "rows", "largest difference", "mean difference", "flipped", "kept"]
    rows = [
        [name, found.get("stage"), found.get("rows") or None, found.get("largest"), found.get("mean"),
         _flipped(found), _yes(found.get("kept"))]
        for name, found in formats.items()
    ]  # fmt: skip
    said = (
        "Each file beside the module that was tested, on the same rows: probabilities, and decisions that are others."
    )
    words = [f"- {cell(found['words'], longest=1000)}." for found in formats.values() if found.get("words")]
    return "\n\n".join(["## Parity", said, table(columns, rows), *(["\n".join(words)] if words else [])])


def _flipped(found: Mapping[str, Any]) -> str:
    flips, decisions = found.get("flips"), found.get("decisions")
    if not found.get("rows"):
        return ""
    return "" if flips is None else f"{flips:,}" if decisions is None else f"{flips:,} of {decisions:,}"


def _yes(kept: Any) -> str:
    return "yes" if kept else "no"


def _data(manifest: Manifest) -> str:
    rows = [
        [stage, found.get("rows"), found.get("fingerprint")]
        for stage, found in manifest.data.items()
        if isinstance(found, Mapping)
    ]
    said = _weights(manifest.weights)
    parts = [f"Weights: {said}."] if said else []
    parts += [table(["stage", "rows", "fingerprint of positions and labels"], rows)] if rows else []
    return "\n\n".join(["## Data and weights", *parts, f"Exported {cell(manifest.created)}."])


def _weights(known: Mapping[str, Any]) -> str:
    """Which they are."""
    step = f"step {cell(known['step'])}" if known.get("step") is not None else None
    worth = f"{cell(known['monitor'])} {cell(known['value'])}" if known.get("value") is not None else None
    words = known.get("words") or known.get("source")
    return ", ".join(part for part in (words and cell(words), step, worth) if part)
