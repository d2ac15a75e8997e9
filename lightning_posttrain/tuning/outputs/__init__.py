"""What a study leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from lightning_posttrain.tuning.result import Study, Trial

__all__ = ["write_outputs"]


def write_outputs(study: Study, folder: Path, *, changed: Trial | None) -> None:  # noqa: ARG001
    """Write ``study.json``."""
    part = folder / "study.json.part"
    part.write_text(json.dumps(study.to_dict(), indent=1))
    part.replace(folder / "study.json")
