"""The best settings as a configuration that LightningCLI reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from lightning_posttrain.tuning.wording import figure

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study


def best_yaml(study: Study, prefix: str = "model") -> bytes:
    """The parameters of the best trial as nested YAML, below a comment that says whose they are.

    ``{"model.lr": 0.1, "data.batch_size": 32}`` becomes ``model: {lr: 0.1}, data: {batch_size: 32}``, a part of a
    configuration: ``python main.py fit --config config.yaml --config best.yaml``.

    Args:
        study: with a complete trial.
        prefix: what stands before names without a dot; with ``subclass_mode_model`` it is ``"model.init_args"``, and
            an empty one leaves such names at the top.

    Raises:
        ValueError: a name is a value and a group of others at once, as ``a`` and ``a.b``.
    """
    best = study.best
    head = f"# study {study.name}, trial {best.number}: {study.monitor} {figure(best.value or 0.0)}\n"
    plain = {name: _plain(value) for name, value in best.params.items()}
    body: str = yaml.safe_dump(nested(plain, prefix), sort_keys=False, allow_unicode=True)
    return ("".join(c if c.isprintable() or c == "\n" else " " for c in head) + body).encode()


def nested(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names as groups in groups.

    Example:
        >>> nested({"model.lr": 0.1, "width": 8}, "model")
        {'model': {'lr': 0.1, 'width': 8}}
    """
    found: dict[str, Any] = {}
    for name, value in params.items():
        *groups, last = (name if "." in name or not prefix else f"{prefix}.{name}").split(".")
        inner = found
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{name!r} lies in {group!r}, which is a parameter itself. Rename one of them.")
        if last in inner:
            raise ValueError(f"{name!r} is a parameter, and others lie in it or have its name. Rename one of them.")
        inner[last] = value
    return found


def _plain(value: Any) -> Any:
    """What YAML has a form for; the text of anything else."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str, dict)) else str(value)
