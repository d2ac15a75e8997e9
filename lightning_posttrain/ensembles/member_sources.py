"""Where the members of an ensemble come from: checkpoints of the run, said files, modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lightning_posttrain.classification import ScoreKind
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.callback.options import at_least, one_of
from lightning_posttrain.core.stream.ranks import on_each_rank, worked_out_first
from lightning_posttrain.core.stream.run import run_folder
from lightning_posttrain.core.stream.stream import EvaluationStream
from lightning_posttrain.ensembles.fit import EnsembleFit, FittedMember, folder_of
from lightning_posttrain.ensembles.functional.combination import Combination
from lightning_posttrain.ensembles.judging import Strategy
from lightning_posttrain.ensembles.members.files import as_loaded, checkpoints_at, checkpoints_of, distinct
from lightning_posttrain.ensembles.members.running import Members
from lightning_posttrain.ensembles.members.state import Mark, MemberState, module_member, read_members
from lightning_posttrain.ensembles.network import EnsembleNetwork, Through
from lightning_posttrain.ensembles.ready_members import ReadyMembers

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

Said = str | Path | nn.Module


@dataclass(frozen=True, eq=False)
class MemberSources:
    """Where the members of an ensemble come from.

    Args:
        said: by the user, as ``CheckpointEnsemble`` takes them; None for those of the run.
        averages: whether a second set of weights in a file is a member too.
        most: at most.
        on: where their weights lie.
    """

    said: Said | Sequence[Said] | None
    averages: bool
    most: int
    on: Literal["auto", "device", "cpu"]

    def __post_init__(self) -> None:
        at_least("most", self.most, 2)
        one_of("on", self.on, ("auto", "device", "cpu"))

    @property
    def modules(self) -> list[nn.Module]:
        """Members that were given as modules."""
        return [each for each in self._listed if isinstance(each, nn.Module)]

    @property
    def _listed(self) -> list[Said]:
        if self.said is None:
            return []
        return [self.said] if isinstance(self.said, (str, Path, nn.Module)) else list(self.said)

    def files(self, trainer: Trainer) -> list[Path]:
        """The checkpoints: those that were said, else those of the run, else those beside the one that is tested.

        The first rank looks; all ranks together.
        """
        return worked_out_first(trainer, lambda: self._look(trainer))

    def _look(self, trainer: Trainer) -> list[Path]:
        paths = [each for each in self._listed if not isinstance(each, nn.Module)]
        if self._listed:
            return checkpoints_at(paths) if paths else []
        found = checkpoints_of(trainer)
        loaded = Path(trainer.ckpt_path) if trainer.ckpt_path else None
        return found if found or loaded is None else checkpoints_at([loaded.parent])

    def found(self, trainer: Trainer, module: LightningModule, losses: Mapping[Mark, float]) -> list[MemberState]:
        """The members, at most so many; all ranks together.

        Args:
            trainer: of the run.
            module: whose architecture they have.
            losses: log loss of weights that were judged, by their marks.

        Raises:
            ValueError: there are none where some were said, or one does not fit the module.
        """
        files = self.files(trainer)
        states = on_each_rank(trainer, lambda: self._read(trainer, files, module))
        if len(states) > self.most:
            states = self._fewer(trainer, states, losses)
        return states

    def _read(self, trainer: Trainer, files: Sequence[Path], module: LightningModule) -> list[MemberState]:
        """The members in files, and those that were given as modules."""
        read, apart = list[MemberState](), list[str]()
        for path in files:
            try:
                read += read_members(path, module)
            except ValueError as error:
                if self._listed:
                    raise
                apart.append(f"{path.name} ({error})")
        if apart and trainer.is_global_zero:
            EvaluationStream.of(trainer).say_once(
                f"CheckpointEnsemble leaves out {len(apart)} of {len(files)} files that are in the folder of the run's "
                f"checkpoints: {apart[0]}"
            )
        given = [module_member(each, f"module {i}", base=module) for i, each in enumerate(self.modules, 1)]
        return distinct([*(read if self.averages else as_loaded(read)), *given])

    def _fewer(self, trainer: Trainer, states: list[MemberState], losses: Mapping[Mark, float]) -> list[MemberState]:
        """Those with the lowest log loss; of those that were not judged the latest."""
        known: Mapping[Mark, float] = trainer.strategy.broadcast(dict(losses))
        order = sorted(range(len(states)), key=lambda i: (known.get(states[i].mark, float("inf")), -i))
        kept = sorted(order[: self.most])
        rank_zero_info(
            f"CheckpointEnsemble: of {len(states)} members the {self.most} with the lowest log loss on validation are "
            f"taken, else the latest. most={len(states)} takes all."
        )
        return [states[i] for i in kept]

    def ready(self, trainer: Trainer, module: LightningModule, fit: EnsembleFit | None) -> ReadyMembers | None:
        """Members that are ready: on test those of the fit, if there is one, else all; all ranks together.

        None where there are none.
        """
        if trainer.state.fn == "test":
            fit = self._fit(trainer, fit)
            if fit is not None:
                known = (*fit.members, *fit.soups)
                states = on_each_rank(trainer, lambda: [self.of_fit(fit, member, module) for member in known])
                return ReadyMembers(Members(states, on=self.on), states, fit)
        states = self.found(trainer, module, {})
        return ReadyMembers(Members(states, on=self.on), states, None) if states else None

    def folder(self, trainer: Trainer, states: Sequence[MemberState]) -> Path:
        """Where a fit of members lies; all ranks together."""
        return folder_of([state.source for state in states], run_folder(trainer))

    def _fit(self, trainer: Trainer, fit: EnsembleFit | None) -> EnsembleFit | None:
        """What was fitted: by this callback, else what lies beside the members; all ranks together."""
        if fit is not None:
            return fit
        files = [str(path) for path in self.files(trainer)]
        folder = folder_of(files, run_folder(trainer))
        found = worked_out_first(trainer, lambda: EnsembleFit.read(folder))
        if found is None or not self._listed or found.is_of(files):
            return found
        if trainer.is_global_zero:
            EvaluationStream.of(trainer).say_once(OTHERS.format(folder))
        return None

    def of_fit(self, fit: EnsembleFit, member: FittedMember, module: nn.Module) -> MemberState:
        """The weights of a member that a fit knows.

        Raises:
            ValueError: they are gone, or are others now.
        """
        if not member.file:
            read = [module_member(each, member.name, base=module) for each in self.modules]
        else:
            path = fit.place(member)
            if not path.is_file():
                raise ValueError(f"{path}, the member {member.name!r} of the ensemble, is not there. {ANEW}")
            read = read_members(path, module)
        kind: Any = member.kind
        for state in read:
            if state.mark == member.mark:
                return replace(state, name=member.name, kind=kind)
        where = member.file or "a module"
        raise ValueError(f"{where} has other weights than when the ensemble was fitted to it. {ANEW}")

    def network(
        self, fit: EnsembleFit, model: nn.Module, strategy: str | None, forward_fn: Any = None
    ) -> EnsembleNetwork:
        """An ensemble as one module.

        Args:
            fit: what was fitted.
            model: of the members' architecture; it stays as it was.
            strategy: name of one, or None for the one that was chosen.
            forward_fn: from the module and inputs to scores, or None.

        Raises:
            ValueError: there is no such strategy, or a member is gone.
        """
        ways: dict[str, Strategy] = {**fit.strategies, **fit.alone}
        if strategy is not None and strategy not in ways:
            raise ValueError(f"`strategy` is {strategy!r}, wanted {' or '.join(map(repr, ways))}.")
        how, known = ways[strategy or fit.chosen], [*fit.members, *fit.soups]
        if isinstance(how, int):
            known, how = [known[how]], Combination("probabilities", torch.ones(1, dtype=torch.float64))
        whole = forward_fn is not None or not fit.entry
        start, within = "" if whole else f"{fit.entry}.", "module." if forward_fn is not None else ""
        states: list[Mapping[str, Tensor]] = [{}] * len(how.weights)
        for place in how.used:
            tensors = self.of_fit(fit, known[place], model).tensors
            own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            states[place] = {within + key: value for key, value in own.items()}
        names = [member.name for member in known[: len(how.weights)]]
        task: Any = fit.task
        scores: ScoreKind = "probabilities" if fit.squashed else "logits"
        network = model.get_submodule(fit.entry) if forward_fn is None else Through(model, forward_fn)
        return EnsembleNetwork(network, states, how, task=task, scores=scores, names=names)


NO_CHECKPOINTS = (
    "CheckpointEnsemble: there are no checkpoints to combine. Pass ModelCheckpoint(save_top_k=5, monitor=...) to the "
    'Trainer, or members="folder/*.ckpt".'
)
OTHERS = (
    "CheckpointEnsemble: the fit in {} is of other members than those that were said, so that test reports plain "
    "means. Run validate, which fits anew."
)
ANEW = "Run validate with the same CheckpointEnsemble, which fits anew to the members that are there."
"""How an ensemble is had again."""
