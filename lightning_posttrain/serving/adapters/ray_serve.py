"""An exported folder behind Ray Serve, on as many machines as there are."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_posttrain import export
from lightning_posttrain.serving.adapters.rows import answers_of, row_of
from lightning_posttrain.serving.answering import Row
from lightning_posttrain.serving.refusal import RefusedError


def ray_application(
    folder: str | Path,
    *,
    max_batch_size: int = 16,
    batch_wait_timeout_s: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """An application of an exported folder: ``ray.serve.run(ray_application("/models/export"))``.

    ``POST /`` takes one row in the forms of our own server, and gives what that gives. A body is checked before it
    joins a batch: a bad one gets a 4xx with the reason, and is no matter of its neighbours.

    Args:
        folder: of the export, at the same place on each machine.
        max_batch_size: rows that are answered together, at most.
        batch_wait_timeout_s: seconds to wait for more rows; 0 takes what waits.
        options: of ``ray.serve.deployment``, as ``{"autoscaling_config": {"min_replicas": 1, "max_replicas": 8}}``.

    Returns:
        A ``ray.serve.Application``, in each replica of which the folder is loaded once.

    Raises:
        ImportError: Ray Serve is not installed.
    """
    try:
        from ray import serve
        from starlette.requests import Request
        from starlette.responses import JSONResponse
    except ImportError as error:
        raise ImportError("`ray_application` needs Ray Serve: pip install 'ray[serve]'") from error

    class Export:
        def __init__(self) -> None:
            self.predictor = export.load(folder)

        @serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=batch_wait_timeout_s)  # type: ignore[untyped-decorator]
        async def answers(self, rows: list[Row]) -> list[dict[str, Any]]:
            return await asyncio.to_thread(answers_of, self.predictor, rows)

        async def __call__(self, request: Request) -> JSONResponse:
            try:
                row = row_of(await request.body(), self.predictor.manifest)
            except RefusedError as error:
                return JSONResponse({"detail": error.reason}, error.status)
            return JSONResponse(await self.answers(row))

    return serve.deployment(**(options or {}))(Export).bind()
