"""One member of an ensemble: read from a checkpoint, or taken from a module."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.ensembles.members.weights import Mark, fitted, live_tensors, mark, plain, some_of

__all__ = ["Kind", "Mark", "MemberState", "mark", "module_member", "read_members", "with_names"]

Kind = Literal["raw", "ema", "swa", "soup"]


@dataclass(frozen=True, eq=False)
class MemberState:
    """One member of an ensemble.

    Args:
        name: as ``"epoch 3"``, ``"epoch 3, EMA"``, ``"SWA"`` or ``"uniform soup"``.
        kind: of its weights: as trained, averaged while training, exponentially or stochastically, or of members.
        tensors: parameters and buffers by the module's own names, on the CPU.
        source: path of the file, or what else it comes from.
        mark: see ``mark``.
        step: of training, after which it was written; None where that is not known.
    """

    name: str
    kind: Kind
    tensors: Mapping[str, Tensor]
    source: str
    mark: Mark
    step: int | None = None


def read_members(path: str | Path, module: nn.Module) -> list[MemberState]:
    """The members that a checkpoint of Lightning holds: the weights that it is loaded with, and others beside them.

    Beside the average of a weight averaging stand the weights as they were trained, and beside these the average of
    ``StochasticWeightAveraging``, while that was running.

    Args:
        path: of the file.
        module: of the architecture; what it has beyond the file's parameters and buffers is as it has it.

    Raises:
        ValueError: there is no such file, it is no checkpoint, or it is one of another model.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"`members`: {file} is not there. Pass paths of checkpoints, or a glob that finds some.")
    with torch.inference_mode(False), torch.no_grad():
        saved = _loaded(file)
        if not isinstance(saved, Mapping) or not isinstance(saved.get("state_dict"), Mapping):
            what = "no state_dict" if isinstance(saved, Mapping) else f"a {type(saved).__name__}"
            raise ValueError(f"`members`: {file} is no checkpoint of Lightning: it holds {what}. {LEAVE_OUT}")
        when = _when(saved, file)
        found = [(kind, fitted(weights, module, str(file))) for kind, weights in _weights(saved)]
    titles = {"raw": "", "ema": ", EMA", "swa": ", SWA"}
    step = saved.get("global_step")
    return [
        MemberState(
            when + titles[kind], kind, tensors, str(file.resolve()), mark(tensors), step if type(step) is int else None
        )
        for kind, tensors in found
    ]


LEAVE_OUT = "Leave it out of `members`."


def _loaded(file: Path) -> Any:
    """What a file holds, on the CPU; of a whole checkpoint only what is looked at is read."""
    mapped = zipfile.is_zipfile(file)
    try:
        return torch.load(file, map_location="cpu", mmap=mapped, weights_only=True)
    except UnpicklingError as error:
        if "Unsupported global" not in str(error):
            raise ValueError(_broken(file, error)) from error
        refused = re.search(r"GLOBAL (\S+)", str(error))
    except Exception as error:  # whatever is wrong with a file
        raise ValueError(_broken(file, error)) from error
    warnings.warn(
        f"lightning_posttrain reads {file} with pickle, as Lightning does, because it holds "
        f"{refused[1] if refused else 'objects'} beside tensors and plain values. Pickle runs what is written in a "
        "file: pass none of unknown origin.",
        stacklevel=4,
    )
    try:
        return torch.load(file, map_location="cpu", mmap=mapped, weights_only=False)
    except Exception as error:  # whatever the classes of other programs raise
        raise ValueError(_broken(file, error)) from error


def _broken(file: Path, error: Exception) -> str:
    return (
        f"`members`: {file} cannot be read as a checkpoint ({type(error).__name__}: {first_line(error)}). {LEAVE_OUT}"
    )


def _weights(saved: Mapping[str, Any]) -> Iterator[tuple[Kind, Mapping[str, Any]]]:
    """Each set of weights in a checkpoint, first those that it is loaded with."""
    averaged = isinstance(saved.get("current_model_state"), Mapping) and "averaging_state" in saved
    yield ("ema" if averaged else "raw"), saved["state_dict"]
    if averaged:
        yield "raw", saved["current_model_state"]
    callbacks = saved.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, Mapping) else ():
        average = state.get("average_model_state") if isinstance(state, Mapping) else None
        if isinstance(average, Mapping):
            yield "swa", average


def _when(saved: Mapping[str, Any], file: Path) -> str:
    """When a checkpoint was written, as ``"epoch 3"``, else its file."""
    epoch = saved.get("epoch")
    return f"epoch {epoch}" if isinstance(epoch, int) else file.stem


def module_member(module: nn.Module, name: str, *, base: nn.Module | None = None) -> MemberState:
    """The weights that a module has at the moment, as a member.

    Args:
        module: whose weights.
        name: of the member.
        base: the module that is to run them. Default: itself.

    Raises:
        ValueError: it is of another architecture than ``base``.

    Example:
        >>> module_member(nn.Linear(2, 1), "last").tensors.keys()
        dict_keys(['weight', 'bias'])
    """
    root = module if base is None else base
    given = live_tensors(module)
    own, other = ({plain(key): tensor.shape for key, tensor in live_tensors(one).items()} for one in (root, module))
    apart = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
    if apart:
        raise ValueError(
            f"`members`: {name} is a {type(module).__name__} of another architecture than the {type(root).__name__} "
            f"that is evaluated, as {some_of(apart)} shows. Pass modules that differ in their weights alone."
        )
    with torch.inference_mode(False), torch.no_grad():
        tensors = fitted(given, root, name)
        return MemberState(name, "raw", tensors, name, mark(tensors))


def with_names(members: Sequence[MemberState]) -> list[MemberState]:
    """Members with names that differ: where several have one name with their steps, and else with numbers.

    Example:
        >>> one, other = (MemberState("epoch 1, EMA", "ema", {}, "", (), step) for step in (10, 20))
        >>> [member.name for member in with_names([one, other, one])]
        ['epoch 1 step 10, EMA', 'epoch 1 step 20, EMA', 'epoch 1 step 10, EMA (2)']
    """
    members = _with_folders(members)
    times = Counter(member.name for member in members)
    wanted = [_with_step(member) if times[member.name] > 1 else member.name for member in members]
    found: list[str] = []
    for name in wanted:
        numbered = (f"{name} ({i})" for i in range(2, len(wanted) + 2))
        found.append(next(each for each in (name, *numbered) if each not in found))
    return [replace(member, name=name) for member, name in zip(members, found, strict=True)]


def _with_folders(members: Sequence[MemberState]) -> list[MemberState]:
    """Members of several folders, as of several runs, with the part of the path that tells these apart."""
    folders = [str(Path(member.source).parent) for member in members]
    if len(set(folders)) < 2 or not all(Path(member.source).is_file() for member in members):
        return list(members)
    common = os.path.commonpath(folders)
    named = (Path(os.path.relpath(folder, common)).parts[:1] for folder in folders)
    return [
        replace(member, name=f"{part[0]}, {member.name}") if part and part[0] != "." else member
        for member, part in zip(members, named, strict=True)
    ]


def _with_step(member: MemberState) -> str:
    if member.step is None:
        return member.name
    return re.sub(r"\bepoch \d+", lambda found: f"{found[0]} step {member.step}", member.name, count=1)
