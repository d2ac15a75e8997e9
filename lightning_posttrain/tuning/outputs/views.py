"""Pictures of a study as files, and with its table and the columns of the HParams tab as a run of TensorBoard."""

from __future__ import annotations

import json
from typing import Any

from lightning_posttrain.core.output.artifacts import Image, Table, Tagged
from lightning_posttrain.core.output.sinks.encode import encoded
from lightning_posttrain.core.output.sinks.stores import LocalStore
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink
from lightning_posttrain.tuning.outputs.events import digest, event_file, event_name
from lightning_posttrain.tuning.outputs.hparams import OWN, experiment
from lightning_posttrain.tuning.result import Study
from lightning_posttrain.tuning.table import ranked_table

HOME = "overview"


class _Collected:
    """Takes summaries in the place of a ``SummaryWriter``."""

    def __init__(self) -> None:
        self.summaries: list[tuple[int, Any]] = []

    def _get_file_writer(self) -> _Collected:
        return self

    def add_summary(self, summary: Any, step: int) -> None:
        """Keep it."""
        self.summaries.append((step, summary))


def write_views(study: Study, store: LocalStore) -> None:
    """Draw the study where it changed since it was drawn.

    Args:
        study: of which.
        store: keeps files of its folder.
    """
    columns, summary = experiment(study)
    told = json.dumps([columns, study.to_dict()], default=str)
    there = [name for name in store.names() if name.startswith(f"{HOME}/")]
    if any(name.endswith(digest(told)) for name in there):
        return
    drawn = _drawn(study)
    for each in drawn:
        if isinstance(each.artifact, Image):
            store.put(f"{each.tag}.png", encoded(each.artifact).content)
    ended = sum(trial.status not in ("running", "waiting") for trial in study.trials)
    collected = _Collected()
    sink = TensorBoardSink(collected)
    for each in drawn:
        sink.write(f"{OWN}{each.tag}", each.artifact, ended)
    store.put(f"{HOME}/{event_name(told)}", event_file([(0, summary), *collected.summaries]))
    for name in there:
        store.remove(name)


def _drawn(study: Study) -> list[Tagged]:
    from lightning_posttrain.tuning.render import study_artifacts

    table: Table = ranked_table(study)
    return [*study_artifacts(study), Tagged("trials", table)]
