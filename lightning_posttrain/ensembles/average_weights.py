"""Soups of the members of a fit: averaged, judged on validation, with statistics of BatchNorm where that helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from lightning_posttrain.core.output.whole import whole
from lightning_posttrain.core.stream.ranks import worked_out_first
from lightning_posttrain.ensembles.functional.soups import average, greedy_soup, soup_alarm
from lightning_posttrain.ensembles.gathering import tempered_losses
from lightning_posttrain.ensembles.judging_pass import JudgingPass
from lightning_posttrain.ensembles.members.state import MemberState, mark
from lightning_posttrain.ensembles.soups import has_statistics, recomputed

STATISTICS = "statistics of BatchNorm in soups are means of the members', as validate has no training data"
FEW = 2_000
"""Rows of validation that candidates are judged on."""


def soups_of(
    states: Sequence[MemberState], losses: Sequence[float], judging: JudgingPass
) -> tuple[list[MemberState], str]:
    """The uniform and the greedy soup, and why there is none; all ranks together.

    Args:
        states: the members.
        losses: of each on validation, with a temperature of its own.
        judging: judges candidates, each with the temperature that suits it: averaging makes a network less sure, which
            plain log loss would take for a better one.
    """

    def judge(tensors: Mapping[str, Tensor]) -> float:
        return tempered_losses(judging.scores([_soup("candidate", tensors)], rows=FEW), judging.reading.task)[0]

    if len(states) < 2:
        return [], ""
    order = sorted(range(len(states)), key=losses.__getitem__)
    tensors = [states[place].tensors for place in order]
    whole, loss = _settled(average(tensors), judge, judging)
    if alarm := soup_alarm(loss, losses):
        return [], alarm
    greedy = greedy_soup(tensors, judge)
    found = [_soup("uniform soup", whole)]
    if 1 < len(greedy.kept) < len(states):
        found.append(_soup("greedy soup", _settled(greedy.state, judge, judging)[0]))
    alone = "" if len(greedy.kept) > 1 else "the greedy soup keeps one member alone, as no other lowers its log loss"
    kept = has_statistics(judging.module) and judging.trainer.train_dataloader is None
    return found, "; ".join(filter(None, [alone, STATISTICS if kept else ""]))


def _settled(tensors: dict[str, Tensor], judge: Any, judging: JudgingPass) -> tuple[dict[str, Tensor], float]:
    """Averaged weights, with statistics of BatchNorm recomputed if that lowers their log loss, and that."""
    loss = judge(tensors)
    if not has_statistics(judging.module) or judging.trainer.train_dataloader is None:
        return tensors, loss
    other = dict(recomputed(_soup("candidate", tensors), judging.trainer, judging.module).tensors)
    anew = judge(other)
    return (other, anew) if anew < loss else (tensors, loss)


def _soup(name: str, tensors: Mapping[str, Tensor]) -> MemberState:
    return MemberState(name, "soup", tensors, "", mark(tensors))


def written(soup: MemberState, folder: Path, like: str, judging: JudgingPass) -> MemberState:
    """A soup as a checkpoint in ``folder``, in Lightning's own form, which the first rank writes; all ranks together.

    Args:
        soup: averaged weights.
        folder: that of the fit.
        like: the file of a member, of which it has the hyper-parameters.
        judging: of the run.

    Raises:
        Exception: it cannot be written.
    """
    names = judging.module.state_dict().keys()
    tensors = {name: tensor for name, tensor in soup.tensors.items() if name in names}
    path = worked_out_first(judging.trainer, lambda: _write(tensors, folder, soup.name, like))
    return replace(soup, source=str(path))


def _write(tensors: Mapping[str, Tensor], folder: Path, name: str, like: str) -> Path:
    """Write weights, whole or not at all."""
    path = folder / f"{name.replace(' ', '_')}.ckpt"
    kept = _kept_of(Path(like)) if Path(like).is_file() else {}
    folder.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        torch.save({"epoch": 0, "global_step": 0, **kept, "state_dict": tensors}, beside)
    return path


def _kept_of(file: Path) -> dict[str, Any]:
    """What a checkpoint says beside its weights; nothing where it holds more than plain values."""
    try:
        saved = torch.load(file, weights_only=True, map_location="cpu", mmap=is_zipfile(file))
    except UnpicklingError:
        return {}
    return {name: saved[name] for name in _KEPT if name in saved}


_KEPT = (
    "epoch", "global_step", "pytorch-lightning_version", "hyper_parameters", "hparams_name", "hparams_type",
    "datamodule_hyper_parameters", "datamodule_hparams_name",
)  # fmt: skip
