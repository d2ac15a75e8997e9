"""Pictures of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.tuning.render.history import history_image
from lightning_posttrain.tuning.render.importance import importance_image
from lightning_posttrain.tuning.render.parallel import parallel_image
from lightning_posttrain.tuning.render.slices import slices_image

if TYPE_CHECKING:
    from lightning_posttrain.tuning.result import Study


def study_artifacts(study: Study) -> Iterator[Tagged]:
    """The history of the best value, slices, importance where it is known, and parallel coordinates."""
    yield Tagged("history", history_image(study))
    yield Tagged("slices", slices_image(study))
    if study.importance is not None:
        yield Tagged("importance", importance_image(study))
    yield Tagged("parallel_coordinates", parallel_image(study))
