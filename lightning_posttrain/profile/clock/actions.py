"""What the names mean that Lightning gives to its actions."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import NamedTuple

from lightning_posttrain.core.stream.accounts import NOWHERE
from lightning_posttrain.core.stream.booking import CALLBACK, READING

MEASURING = "lightning_posttrain: measuring"
"""What a profile does for its own figures, which is no part of the run."""
APART = "apart"
DATA = "waiting for data"
TRANSFER = "transfer to the device"
UPDATE = "optimizer step"
_LOOP = ("loops", "Lightning's training loop, and loggers")
_PLAIN = {
    NOWHERE: ("outside", "Lightning, between its brackets"),
    "run_training_epoch": _LOOP,
    "run_training_batch": _LOOP,
    READING: ("reading", "shared reading of batches"),
    MEASURING: (APART, "counting and timing the model (apart from the run)"),
    "save_checkpoint": ("checkpoints", "saving of checkpoints"),
    "optimizer_step": ("step", UPDATE),
}
_STRATEGY = "[Strategy]"
_MODULE = "[LightningModule]"
_DATA_MODULE = "[LightningDataModule]"
_HOOKS = {
    "training_step": ("step", "training step"),
    "validation_step": ("step", "validation step"),
    "test_step": ("step", "test step"),
    "predict_step": ("step", "prediction step"),
    "backward": ("step", "backward"),
    "optimizer_step": ("step", UPDATE),
    "optimizer_zero_grad": ("step", UPDATE),
    "configure_gradient_clipping": ("step", UPDATE),
    "lr_scheduler_step": ("step", UPDATE),
    "batch_to_device": ("transfer", TRANSFER),
    "transfer_batch_to_device": ("transfer", TRANSFER),
}
_OTHER_HOOKS = {
    _STRATEGY: ("strategy", "strategy"),
    _MODULE: ("module", "hooks of the module"),
    _DATA_MODULE: ("module", "hooks of the data module"),
}


class Meaning(NamedTuple):
    """What the seconds of an action are shown as.

    Args:
        kind: ``"callback"``, ``"reading"``, ``"data"``, ``"transfer"``, ``"step"``, ``"module"``, ``"strategy"``,
            ``"checkpoints"``, ``"loops"``, ``"outside"`` of all brackets, or ``"other"`` for those of the user's own.
        name: of the row.
    """

    kind: str
    name: str


def meanings(actions: Iterable[str]) -> dict[str, Meaning]:
    """What each action means; two callbacks of a class that have names, as ours may, are told apart by them.

    Example:
        >>> key = "[Callback]ConfusionMatrix{'name': 'coarse'}"
        >>> meanings([f"{key}.on_test_end", "[Strategy]DDPStrategy.backward"])[f"{key}.on_test_end"].name
        'ConfusionMatrix'
    """
    known = list(actions)
    names: dict[str, set[str | None]] = {}
    for action in known:
        if action.startswith(CALLBACK):
            kind, name = _kind_and_name(action)
            names.setdefault(kind, set()).add(name)
    return {action: _meaning(action, names) for action in known}


def _meaning(action: str, names: dict[str, set[str | None]]) -> Meaning:
    if action.startswith(CALLBACK):
        kind, name = _kind_and_name(action)
        return Meaning("callback", f"{kind} ({name})" if name and len(names[kind]) > 1 else kind)
    if action in _PLAIN:
        return Meaning(*_PLAIN[action])
    if action.startswith("[") and action.endswith("_next"):
        return Meaning("data", DATA)
    for owner, other in _OTHER_HOOKS.items():
        if action.startswith(owner):
            return Meaning(*_HOOKS.get(action.rsplit(".", 1)[-1], other))
    return Meaning("other", action)


def _kind_and_name(action: str) -> tuple[str, str | None]:
    """Class, and name where the state key holds one, of the callback whose hook an action is."""
    key = action.removeprefix(CALLBACK).rsplit(".", 1)[0]
    before, brace, inside = key.partition("{")
    return before.rsplit(".", 1)[-1], _name_in(brace + inside) if brace else None


def _name_in(arguments: str) -> str | None:
    try:
        found = ast.literal_eval(arguments)
    except (SyntaxError, ValueError):  # a state key may be any text
        return None
    name = found.get("name") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None
