"""What was fitted to members on validation: plain values in a file beside them, frozen on test.

No checkpoint holds it: all were written before it was fitted, and one that is loaded for a test would put an older fit
in its place. The marks of the members' weights tell whether it is for the files that are there.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from lightning_posttrain.core.output.first_line import first_line
from lightning_posttrain.core.output.whole import whole
from lightning_posttrain.ensembles.functional.combination import Combination

FOLDER = "ensemble"
"""Of the fit and the averaged weights, in the folder of the members."""
NAME = "fit.pt"
VERSION = 1


@dataclass(frozen=True)
class FittedMember:
    """A member as a fit knows it.

    Args:
        name: as ``"epoch 3"``.
        kind: ``"raw"``, ``"ema"``, ``"swa"`` or ``"soup"``.
        file: from the fit's folder on, so that both can be moved; "" where it was given as a module.
        mark: of its weights.
    """

    name: str
    kind: str
    file: str
    mark: tuple[float, ...]


@dataclass(frozen=True)
class OnValidation:
    """What a strategy did on rows of validation that it was not fitted to.

    Args:
        log_loss: mean over rows.
        accuracy: share of rows that are right.
        loss: log loss less that of the best member alone, with the ends of its 95 % interval.
        hits: accuracy less that of the best member alone, likewise.
    """

    log_loss: float
    accuracy: float
    loss: tuple[float, float, float]
    hits: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class EnsembleFit:
    """Strategies, fitted and judged by cross-fitting.

    Args:
        members: ``K``.
        strategies: by name, of all members in this order.
        validation: by the same names, and those of ``alone``.
        chosen: the simplest of those that are as good as the best, if it is kept; else the best member alone.
        kept: whether it is better than that.
        reason: a sentence on that.
        task: of the scores.
        columns: classes or labels.
        rows: that it was fitted to.
        total: rows that there were.
        entry: dotted name of the module that gives scores from inputs.
        squashed: whether it gives probabilities.
        notes: on what was left out.
        soups: averages of members' weights, numbered behind the members.
        alone: strategies that take one member or soup alone, by its number.
        folder: where it lies; not written.
    """

    members: tuple[FittedMember, ...]
    strategies: Mapping[str, Combination]
    validation: Mapping[str, OnValidation]
    chosen: str
    kept: bool
    reason: str
    task: str
    columns: int
    rows: int
    total: int
    entry: str = ""
    squashed: bool = False
    notes: tuple[str, ...] = ()
    soups: tuple[FittedMember, ...] = ()
    alone: Mapping[str, int] = field(default_factory=dict)
    folder: Path | None = None

    def place(self, member: FittedMember) -> Path:
        """Where a member's file is, also where the fit's own folder could not be made."""
        return Path(os.path.normpath((self.folder or Path()) / member.file))

    def is_of(self, files: Collection[str]) -> bool:
        """Whether the files of all members are among these, which are resolved."""
        return {str(self.place(member).resolve()) for member in self.members if member.file} <= set(files)

    def to_state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {
            "lightning_posttrain": VERSION,
            **{name: getattr(self, name) for name in _PLAIN},
            **{kind: [asdict(member) for member in getattr(self, kind)] for kind in ("members", "soups")},
            "alone": dict(self.alone),
            "strategies": {name: how.to_state() for name, how in self.strategies.items()},
            "validation": {name: asdict(figures) for name, figures in self.validation.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EnsembleFit:
        """The fit whose ``to_state`` this is.

        Raises:
            ValueError: none has written it.
        """
        if not isinstance(state, Mapping) or state.get("lightning_posttrain") != VERSION:
            raise ValueError(f"it is no fit of an ensemble of form {VERSION}. Run fit or validate, which fits anew.")
        plain: dict[str, Any] = {name: state[name] for name in _PLAIN}
        plain["notes"] = tuple(plain["notes"])
        return cls(
            members=tuple(map(_member, state["members"])),
            soups=tuple(map(_member, state["soups"])),
            alone=dict(state["alone"]),
            strategies={name: Combination.from_state(each) for name, each in state["strategies"].items()},
            validation={name: _on_validation(each) for name, each in state["validation"].items()},
            **plain,
        )

    def write(self, folder: Path) -> Path:
        """Write it into ``folder``, whole or not at all.

        Raises:
            FileExistsError: a file of somebody else has its name.
        """
        path = folder / NAME
        if path.exists() and not _is_fit(path):
            raise FileExistsError(f"{path} is no fit of an ensemble, and is not overwritten. Move it away.")
        folder.mkdir(parents=True, exist_ok=True)
        with whole(path) as beside:
            torch.save(self.to_state(), beside)
        return path

    @classmethod
    def read(cls, folder: Path) -> EnsembleFit | None:
        """The fit in ``folder``; None where there is none.

        Raises:
            ValueError: the file is none.
        """
        path = folder / NAME
        if not path.is_file():
            return None
        try:
            return replace(cls.from_state(torch.load(path, weights_only=True, map_location="cpu")), folder=folder)
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"{path} cannot be read as the fit of an ensemble ({type(error).__name__}: {first_line(error)}). "
                "Move it away: test reports plain means then, and validate fits anew."
            ) from error


_PLAIN = ("chosen", "kept", "reason", "task", "columns", "rows", "total", "entry", "squashed", "notes")


def _member(state: Mapping[str, Any]) -> FittedMember:
    return FittedMember(state["name"], state["kind"], state["file"], tuple(state["mark"]))


def _on_validation(state: Mapping[str, Any]) -> OnValidation:
    loss, hits = tuple(state["loss"]), tuple(state["hits"])
    return OnValidation(state["log_loss"], state["accuracy"], loss, hits)


def _is_fit(path: Path) -> bool:
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # whatever is wrong with it: it is not ours
        return False
    return isinstance(found, Mapping) and "lightning_posttrain" in found


def folder_of(sources: Sequence[str], run_folder: str) -> Path:
    """Where a fit of members with these files lies: beside the first, else in the run's own folder."""
    first = next((Path(source).parent for source in sources if Path(source).is_file()), Path(run_folder))
    return first / FOLDER


def relative(source: str, folder: Path) -> str:
    """A member's file from the fit's folder on; as it is where no path leads there, as on another drive."""
    if not Path(source).is_file():
        return ""
    try:
        return os.path.relpath(source, folder)
    except ValueError:
        return source
