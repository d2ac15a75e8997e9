"""What makes the host wait for a device, found on a CPU."""

from __future__ import annotations

import traceback
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lightning_posttrain

OURS = str(Path(lightning_posttrain.__file__).parent)
READ = ("_local_scalar_dense", "is_nonzero", "equal.default")
SIZED = ("nonzero", "masked_select", "unique", "bincount", "argwhere", "nonzero_numpy")
METHODS = (
    "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__",
)  # fmt: skip
MADE_OF_PYTHON = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.asarray)


def _kinds(indices):
    return {part.dtype for part in tree_leaves(indices) if isinstance(part, Tensor)}


def reason(name, args, kwargs):
    """Why an operation makes the host wait; nothing where it does not."""
    name = name.removeprefix("aten.")
    rows = name.startswith(("index.", "index_put", "_index_put"))
    sizes = name.startswith("repeat_interleave.") and isinstance(args[-1], Tensor) and not kwargs.get("output_size")
    devices = {part.device.type for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
    to = {torch.device(kwargs["device"]).type} if name.startswith("_to_copy") and kwargs.get("device") else set()
    reasons = {
        "a value is read": name.startswith(READ),
        "Python values are copied to the device": name.startswith("lift_fresh") and args[0].numel() > 0,
        "the size of the result depends on values": sizes or any(kind in name for kind in SIZED),
        "rows are chosen by a mask": rows and bool(_kinds(args[1]) & {torch.bool, torch.uint8}),
        "a Python number is copied to the device": rows and "put" in name and args[2].ndim == 0,
        "tensors are copied between devices": len(devices | to) > 1,
    }
    return "; ".join(why for why, true in reasons.items() if true)


def _note(found, what):
    """With the place in the package. A replay asks the user's network again, which may wait as it likes."""
    ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(OURS)]
    if not any(frame.name == "_replay" for frame in ours):
        found.append(f"{Path(ours[-1].filename).relative_to(OURS)}:{ours[-1].lineno} {what}" if ours else what)


class _Operations(TorchDispatchMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        why = reason(str(func), args, kwargs or {})
        if why:
            _note(self.found, f"{func}: {why}")
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        given = [*args, *(kwargs or {}).values()]
        to_host = name == "to" and "cpu" in [part for part in given if isinstance(part, str)]
        if name in METHODS or to_host:
            _note(self.found, f"Tensor.{name}: a value is read")
        elif func in MADE_OF_PYTHON and not isinstance(args[0], Tensor) and args[0] != []:
            _note(self.found, f"{name}: Python values are copied to the device")
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(found):
    """Note in ``found`` each operation that would make the host wait, with its place in the package."""
    with ExitStack() as stack:
        stack.enter_context(_Methods(found))
        stack.enter_context(_Operations(found))
        yield
