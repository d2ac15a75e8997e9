"""Numbers of the host that an accelerator is to work with."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device, without a wait for what runs there where the device allows it.

    CUDA has read ordinary memory when the call returns; of other devices that is not sure, and they are waited for.

    Example:
        >>> sent(torch.tensor([1, 2]), torch.device("cpu")).tolist()
        [1, 2]
    """
    return values.to(device, non_blocking=device.type == "cuda")
