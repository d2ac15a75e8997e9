"""Everything that a study leaves in its folder, written whole or not at all, and over what is ours alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.core.output.sinks.runs import Run
from lightning_posttrain.core.output.sinks.stores import LocalStore, NotOurs
from lightning_posttrain.tuning.outputs.best_yaml import best_yaml
from lightning_posttrain.tuning.outputs.sessions import write_sessions
from lightning_posttrain.tuning.outputs.views import write_views
from lightning_posttrain.tuning.result import Study, Trial
from lightning_posttrain.tuning.table import csv_table


def write_outputs(study: Study, folder: str | Path, *, changed: Trial | None = None, prefix: str = "model") -> None:
    """Write what a study has found so far into its folder; cheap enough to be called after each trial.

    - ``trials.csv``: a row for each trial;
    - ``study.json``: everything, for ``Study.from_dict``;
    - ``best.yaml``: parameters of the best trial, nested by the dots in their names, for LightningCLI's ``--config``;
    - ``history.png``, ``slices.png``, ``importance.png``, ``parallel_coordinates.png``;
    - ``overview`` and ``hparams``: event files; ``tensorboard --logdir`` of the folder fills the HParams tab.

    Called again it replaces its own files, each whole or not at all, and nobody else's. What cannot be written is said
    in a warning, as a study must not be lost for its table. Of several processes on one study, one at a time may read
    and write it: ``tune`` sees to that.

    Args:
        study: what to write.
        folder: of the study, a log folder of TensorBoard.
        changed: the trial that changed since the last call, whose session alone is written; without it all that differ.
        prefix: what stands before parameters without a dot in ``best.yaml``: ``"model"`` for the arguments of the
            module, ``"model.init_args"`` with ``subclass_mode_model``, an empty one for none.
    """
    folder = Path(folder)
    store, run = LocalStore(str(folder)), Run(f"study {study.name}")
    store.begin(run)
    try:
        for part in _parts(study, store, folder, changed=changed, prefix=prefix):
            _careful(part, folder)
    finally:
        store.end(run)


def _parts(
    study: Study, store: LocalStore, folder: Path, *, changed: Trial | None, prefix: str
) -> Iterator[Callable[[], None]]:
    """Each alone, so that one that fails does not cost the others."""
    yield lambda: store.put("trials.csv", csv_table(study))
    yield lambda: store.put("study.json", _json(study))
    if study.ranked:
        yield lambda: store.put("best.yaml", best_yaml(study, prefix))
    yield lambda: write_sessions(study, store, folder, changed)
    yield lambda: write_views(study, store)


def _json(study: Study) -> bytes:
    return json.dumps(undefined_to_none(study.to_dict()), indent=1, default=str).encode(errors="backslashreplace")


def _careful(part: Callable[[], None], folder: Path) -> None:
    try:
        part()
    except NotOurs as error:
        what = "a link" if error.link else "not lightning_posttrain's"
        cure = "Move it away, or give the study a folder of its own."
        warnings.warn(f"{error.place} is {what} and stays as it is. {cure}", stacklevel=3)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        warnings.warn(f"{folder}: an output of the study was not written: {said}", stacklevel=3)
