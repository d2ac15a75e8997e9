"""What is learned of inputs as a run begins: from other callbacks, and from the datasets of its loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_posttrain.core.capture.foreign import attribute
from lightning_posttrain.core.capture.loaders import named_loaders
from lightning_posttrain.samples.inputs import Inputs

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def learn_inputs(callback: Any, trainer: Trainer, inputs: Any) -> None:
    """Let what a callback knows of inputs learn from the first batch of a loader, from other kinds of callbacks too."""
    display: Inputs = callback._display
    others = [each for each in getattr(trainer, "callbacks", ()) if type(each) is not type(callback)]
    told = [known for each in others if isinstance(known := attribute(each, "_display"), Inputs)]
    display.learn(inputs, told, [loader for _, loader, _ in named_loaders(trainer)])
