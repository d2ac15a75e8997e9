"""The sessions of the HParams tab on the disk: a folder for each trial, with one event file.

A trial that runs has a folder that goes when it ends: a TensorBoard that is open keeps the first that it read of a run,
and a pruned trial gets another name.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path

from lightning_posttrain.core.output.sinks.stores import LocalStore
from lightning_posttrain.tuning.outputs.events import digest, event_file, event_name
from lightning_posttrain.tuning.outputs.hparams import Session, sessions, summaries
from lightning_posttrain.tuning.result import Study, Trial

HOME = "hparams"


def write_sessions(study: Study, store: LocalStore, folder: Path, changed: Trial | None = None) -> None:
    """Bring the event files to what the study says; what says the same stays.

    Args:
        study: of which.
        store: keeps files of ``folder``.
        folder: of the study.
        changed: the trial that is written, where not all are.
    """
    there = _written(store)
    found = sessions(study)
    wanted = {_home(number, session): (number, session) for number, session in found.items()}
    for home in set(there) - set(wanted):
        for name in there[home]:
            store.remove(name)
        with contextlib.suppress(OSError):  # an event file of somebody else keeps it
            (folder / home).rmdir()
    for home, (number, session) in wanted.items():
        if changed is None or number == changed.number:
            _write(store, home, session, there[home])


def _write(store: LocalStore, home: str, session: Session, there: list[str]) -> None:
    if any(name.endswith(digest(session.told)) for name in there):
        return
    store.put(f"{home}/{event_name(session.told)}", event_file(summaries(session)))
    for name in there:
        store.remove(name)


def _home(number: int, session: Session) -> str:
    return f"{HOME}/{number:04d}" + (".running" if session.status == "running" else "")


def _written(store: LocalStore) -> defaultdict[str, list[str]]:
    """Event files of sessions by their folder."""
    found = defaultdict(list)
    for name in store.names():
        home, _, _ = name.rpartition("/")
        if home.startswith(f"{HOME}/"):
            found[home].append(name)
    return found
