"""What users hold on to, in plain data: names, arguments, tags, files, keys of checkpoints.

``python -m tests.public_api`` writes it anew, where a change is meant.
"""

from __future__ import annotations

import importlib
import inspect
import json
import tempfile
import typing
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

import lightning_posttrain as lp
from tests import toys

DATA = Path(__file__).parent / "data"
MODULES = ("", ".functional", ".attribution", ".calibrators", ".export", ".profile", ".serving")


def names() -> dict[str, list[str]]:
    """Public names of each module."""
    return {module: sorted(importlib.import_module(f"lightning_posttrain{module}").__all__) for module in MODULES}


def said(default: Any) -> str:
    """A default as text, of a set in order."""
    return f"{{{', '.join(sorted(map(repr, default)))}}}" if isinstance(default, frozenset) else repr(default)


def arguments(of: Any) -> dict[str, Any]:
    """What a function or class takes: by name the default as text, of options that are typed as a dict ``...``."""
    found: dict[str, Any] = {}
    for parameter in inspect.signature(of).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            options = typing.get_type_hints(of.__init__ if inspect.isclass(of) else of)[parameter.name]
            found.update(dict.fromkeys(typing.get_type_hints(typing.get_args(options)[0]), "..."))
        elif parameter.default is parameter.empty:
            found[parameter.name] = "required"
        else:
            found[parameter.name] = said(parameter.default)
    return found


def signatures() -> dict[str, dict[str, Any]]:
    """Of everything public that can be called."""
    found = {}
    for module, listed in names().items():
        for name in listed:
            value = getattr(importlib.import_module(f"lightning_posttrain{module}"), name)
            error = isinstance(value, type) and issubclass(value, Exception)
            protocol = getattr(value, "_is_protocol", False)  # nobody makes one
            if callable(value) and not typing.get_origin(value) and not error and not protocol:
                found[f"{module}.{name}"] = arguments(value)
    return found


def callbacks() -> list[Any]:
    """One of each kind, of which several keep what they fitted."""
    return [
        *lp.posttrain_suite(),
        lp.Explanations(samples=2, perturbations=32, every_n_epochs=1),
        lp.Surrogate(repeats=1, every_n_epochs=1),
        lp.LabelErrors(),
        lp.GeneralizationGap(),
        lp.HardExampleMining(),
        lp.TorchMetrics(MeanMetric(), update_fn=lambda outputs, batch: batch[0]),
        lp.Calibration(name="own", method=["temperature", "vector"]),
    ]


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training with a sampler of hard examples, and validation."""
    train: TensorDataset = toys.images(64)
    return toys.loader(train, sampler=lp.HardExampleSampler(train)), toys.loader(toys.images(40, seed=1))


def fitted(listed: list[Any]) -> Any:
    """A trainer that has fitted and tested."""
    torch.manual_seed(0)
    trainer = toys.quiet(listed, max_epochs=2)
    module = toys.Net()
    trainer.fit(module, *loaders())
    return trainer, module


def shape_of(state: Any) -> Any:
    """Keys of a state, and of what stands at the leaves its kind."""
    if isinstance(state, dict):
        return {str(key): shape_of(value) for key, value in state.items()}
    if isinstance(state, torch.Tensor):
        return [str(state.dtype), state.ndim]
    return type(state).__name__


def run() -> dict[str, Any]:
    """What a run leaves: logged names, files, states. Writes below the present folder."""
    trainer, module = fitted(callbacks())
    logged = set(trainer.callback_metrics)
    trainer.save_checkpoint("all.ckpt")
    trainer.test(module, loaders()[1], verbose=False)
    logged |= set(trainer.callback_metrics)
    states = torch.load("all.ckpt", weights_only=True)["callbacks"]
    return {
        "logged": sorted(logged),
        "files": sorted(str(path) for path in Path("posttrain").rglob("*") if path.is_file()),
        "states": {key: shape_of(value) for key, value in sorted(states.items())},
        "tags": {type(callback).__name__: callback.tag for callback in callbacks()},
    }


def main() -> None:
    """Write what is there now."""
    import os
    import shutil

    record: dict[str, Any] = {"names": names(), "signatures": signatures()}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        record["run"] = run()
        shutil.copy("all.ckpt", DATA / "before_the_wings.ckpt")
        os.chdir(before)
    (DATA / "public_api.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
