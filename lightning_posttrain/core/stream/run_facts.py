"""What is told of a run as a whole: with what, of which module, by which callbacks, of which weights."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.core.capture.foreign import attribute, length
from lightning_posttrain.core.capture.loaders import sampler_of

LIBRARIES = ("torch", "lightning", "pytorch-lightning", "torchmetrics", "torchvision", "numpy")
KNOWN = ("lightning_posttrain.", "lightning.", "pytorch_lightning.")
LONGEST = 200
"""Characters of an argument, and entries of a list in it, at most."""


def facts_of(trainer: Trainer, module: LightningModule, folder: str) -> dict[str, Any]:
    """Facts as they are now, of the first rank."""
    seed = os.environ.get("PL_GLOBAL_SEED", "")
    return {
        "package": __version__,
        "versions": _versions(),
        "device": str(attribute(attribute(trainer, "strategy"), "root_device", "")),
        "ranks": trainer.world_size,
        "precision": str(trainer.precision),
        "module": f"{type(module).__module__}.{type(module).__qualname__}",
        "run_folder": Path(folder).name,
        "seed": int(seed) if seed.isdecimal() else None,
        "callbacks": [
            {"name": type(one).__name__, "arguments": arguments_of(one) if _is_known(one) else {}}
            for one in trainer.callbacks  # type: ignore[attr-defined]
        ],
        "git": commit_of(Path.cwd()),
    }


def stage_facts(
    trainer: Trainer, loaders: Sequence[Any], *, epoch: int, step: int, checkpoint: str | None
) -> dict[str, Any]:
    """Facts of what an evaluation, or a fit, was of."""
    counts = [rows_of(trainer, loader) for loader in loaders]
    rows = None if not counts or None in counts else sum(count or 0 for count in counts)
    name = None if not checkpoint else Path(checkpoint).name
    return {"epoch": epoch, "step": step, "rows": rows, "checkpoint": name, "weights": _weights(trainer, name)}


def _weights(trainer: Trainer, checkpoint: str | None) -> str:
    if checkpoint is not None:
        return f"of the checkpoint {checkpoint}"
    means = [type(one).__name__ for one in trainer.callbacks if "WeightAveraging" in _kinds(one)]  # type: ignore[attr-defined]
    averaged = f", averaged by {means[0]}" if means else ""
    if trainer.state.fn == "fit":
        return f"as trained{averaged}"
    return f"as they were at the end of the fit{averaged}" if trainer.global_step else "as the module came"


def _kinds(one: Any) -> str:
    return " ".join(kind.__name__ for kind in type(one).__mro__)


def rows_of(trainer: Trainer, loader: Any) -> int | None:
    """Rows of a loader, each once over all ranks; None where that is not known."""
    sampler = sampler_of(loader)
    drawn, batches, size = length(sampler), length(loader), attribute(loader, "batch_size")
    if attribute(sampler, "num_replicas") is not None:
        drawn = length(attribute(sampler, "dataset"))
    if drawn is None or batches is None or not isinstance(size, int):
        return drawn
    limits = [trainer.limit_test_batches] if trainer.testing else [trainer.limit_val_batches]
    limits = [trainer.limit_train_batches] if trainer.training else limits
    limit = next((one for one in limits if one is not None), 1.0)
    most = limit if isinstance(limit, int) else int(limit * batches)
    return min(drawn, min(batches, most) * size * trainer.world_size)


def _is_known(callback: Any) -> bool:
    """Whether it is of a library whose arguments are no secrets, as a token of somebody's own callback is."""
    return type(callback).__module__.startswith(KNOWN)


def arguments_of(callback: Any) -> dict[str, Any]:
    """Arguments that a callback keeps under their names, as far as they can be told in plain values."""
    found = {}
    for kind in reversed(type(callback).__mro__[:-1]):
        own = vars(kind).get("__init__")
        parameters = {} if own is None else inspect.signature(own).parameters
        for name, parameter in parameters.items():
            if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                value = attribute(callback, name, parameter.empty)
                if value is not parameter.empty and not inspect.ismethod(value):
                    found[name] = _plain(value)
    return found


def _plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)) and depth < 3:
        return [_plain(one, depth + 1) for one in value[:LONGEST]]
    if isinstance(value, Mapping) and depth < 3:
        return {str(name): _plain(one, depth + 1) for name, one in list(value.items())[:LONGEST]}
    if isinstance(value, str):
        return value[:LONGEST]
    if is_dataclass(value) and depth < 3:
        kept = {part.name: getattr(value, part.name) for part in fields(value)}
        return {name: _plain(one, depth + 1) for name, one in kept.items() if one is not None}
    named = getattr(value, "__qualname__", None)
    return named if isinstance(named, str) else f"a {type(value).__name__}"


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit_of(folder: Path) -> str | None:
    """The commit of the git repository that a folder is in, read from its files; None where there is none."""
    home = next((place / ".git" for place in (folder, *folder.parents) if (place / ".git").is_dir()), None)
    if home is None:
        return None
    try:
        head = (home / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        if (home / name).is_file():
            return (home / name).read_text(encoding="utf-8").strip()
        packed = (home / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
