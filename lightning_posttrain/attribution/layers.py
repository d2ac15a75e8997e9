"""Find the layer that class activation maps are taken from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def find_cam_layer(module: nn.Module, run: Callable[[], object]) -> str | None:
    """Dotted name of the last layer whose output is a stack of maps ``(N, C, H, W)``, or None.

    Layers are told from one forward. A map of less than 4 × 4 says little about where, so the last layer with
    at least that is taken; if there is none, the last with at least 2 × 2. A block counts as its output, so the
    sum at the end of a residual block comes before the convolution inside it.

    Args:
        module: the model.
        run: calls it once on some inputs.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        >>> find_cam_layer(net, lambda: net(torch.ones(1, 1, 8, 8)))
        '1'
    """
    seen: list[tuple[str, int]] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(_module: nn.Module, _args: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                seen.append((name, min(output.shape[2:])))

        return note

    handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules() if name]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    for smallest in (4, 2):
        fitting = [name for name, side in seen if side >= smallest]
        if fitting:
            return fitting[-1]
    return None
