"""Files of a run: its settings, one folder a member, and a record of each that is finished.

    settings.json           of all members
    member_000/best.ckpt    or final.ckpt, where nothing is monitored
    member_000/member.json  the record, renamed into place last: the member is finished
    member_000/failed.json  the record of one that failed; it is tried again when the run is started again
    member_000.begun        the member is being fitted, or was when the run was stopped
    result.json             what the last run came to

All paths in them are relative, so that the folder can be moved.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.core.output.whole import whole

FAILED = "failed.json"
FINISHED = "member.json"
LAST = "last.ckpt"
"""What a member that was interrupted can go on from."""


@dataclass(frozen=True)
class MemberRecord:
    """One member of a run.

    Args:
        member: its number, from 0.
        status: ``"complete"``, or ``"failed"`` where its fit raised.
        seed: that its weights and the order of its rows come from.
        checkpoint: its weights, relative to the run's folder; "" where it failed.
        reason: why it failed.
        score: the best value of what was monitored, or None.
        epochs: that were trained.
        steps: of the optimiser.
        seconds: that the fit took.
        figures: what the module had logged at the end, by name.
        notes: what the driver adds, as SAMME's error and weight.
    """

    member: int
    status: Literal["complete", "failed"]
    seed: int
    checkpoint: str = ""
    reason: str = ""
    score: float | None = None
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    figures: Mapping[str, float | None] | None = None
    notes: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> MemberRecord:
        """The record in a file."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{part.name: found[part.name] for part in fields(cls) if part.name in found})

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_json(path, asdict(self))


def write_json(path: Path, content: Any) -> None:
    """Write whole or not at all."""
    with whole(path) as beside:
        beside.write_text(json.dumps(undefined_to_none(content), indent=2) + "\n", encoding="utf-8")


def member_folder(folder: Path, member: int) -> Path:
    """Where a member is."""
    return folder / f"member_{member:03d}"


def finished(home: Path) -> MemberRecord | None:
    """The record of a member that is finished.

    Raises:
        FileNotFoundError: its checkpoint is gone.
    """
    if not (home / FINISHED).is_file():
        return None
    record = MemberRecord.read(home / FINISHED)
    if not (home.parent / record.checkpoint).exists():
        raise FileNotFoundError(
            f"{home / FINISHED} says that the member is finished, but its {record.checkpoint} is gone. Bring it back, "
            f"or remove {home}, and the member is fitted again."
        )
    return record


def begin(home: Path, *, keep: bool) -> None:
    """Make a member's folder; what an earlier try has left there goes, unless the fit is to go on from it."""
    ours = (home / FAILED).exists() or _begun(home).exists()
    if ours and home.exists() and not (keep and (home / LAST).is_file()):
        shutil.rmtree(home)
    _begun(home).touch()
    home.mkdir(parents=True, exist_ok=True)
    (home / FAILED).unlink(missing_ok=True)


def end(home: Path, record: MemberRecord) -> None:
    """Let the record stand."""
    complete = record.status == "complete"
    record.write(home / (FINISHED if complete else FAILED))
    if complete:
        (home / LAST).unlink(missing_ok=True)
    _begun(home).unlink(missing_ok=True)


def _begun(home: Path) -> Path:
    return home.with_name(f"{home.name}.begun")


def agree(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run, and hold later ones to them as soon as a member is there that goes by them.

    Raises:
        ValueError: one differs.
    """
    path = folder / "settings.json"
    if not path.is_file() or not any(any(folder.glob(f"member_*/{name}")) for name in (FINISHED, LAST)):
        return write_json(path, settings)
    before = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(settings))
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"`folder` {str(folder)!r} was begun with {name} {before.get(name)!r}, and this run has "
                f"{now.get(name)!r}: its members would not go together. Pass another folder, or {name} as before; "
                "only `members` may differ."
            )
    return None
