"""An exported folder behind LitServe."""

# annotations are read when the routes are made, so they are no strings here
from os import fspath
from pathlib import Path
from typing import Annotated, Any

from lightning_posttrain import export
from lightning_posttrain.serving.adapters.rows import answers_of, row_of
from lightning_posttrain.serving.answering import Row
from lightning_posttrain.serving.refusal import RefusedError


def lit_api(folder: str | Path, *, max_batch_size: int = 16, batch_timeout: float = 0.0) -> Any:
    """A ``LitAPI`` of an exported folder: ``litserve.LitServer(lit_api("posttrain/export")).run(port=8000)``.

    ``POST /predict`` takes one row in the forms of our own server, and gives what that gives. A body is checked before
    it joins a batch: a bad one gets a 4xx with the reason, and is no matter of its neighbours.

    Args:
        folder: of the export.
        max_batch_size: rows that are answered together, at most.
        batch_timeout: seconds to wait for more rows; 0 takes what waits.

    Returns:
        A ``litserve.LitAPI``, for each worker of which the folder is loaded once.

    Raises:
        ImportError: LitServe is not installed.
    """
    try:
        import litserve
        from fastapi import Depends, HTTPException, Request
    except ImportError as error:
        raise ImportError("`lit_api` needs LitServe: pip install litserve") from error
    manifest = export.load(folder).manifest

    async def checked(request: Request) -> Row:
        try:
            return row_of(await request.body(), manifest)
        except RefusedError as error:
            raise HTTPException(error.status, error.reason) from None

    class ExportAPI(litserve.LitAPI):  # type: ignore[misc]
        def __reduce__(self) -> Any:  # the class is of this folder: a worker makes its own
            return lit_api, (fspath(folder),), self.__dict__

        def setup(self, device: str) -> None:  # noqa: ARG002
            self.predictor = export.load(folder)

        def decode_request(self, request: Annotated[Any, Depends(checked)]) -> Any:
            return request

        def predict(self, x: Any) -> Any:
            return answers_of(self.predictor, x) if isinstance(x, list) else answers_of(self.predictor, [x])[0]

    return ExportAPI(max_batch_size=max_batch_size, batch_timeout=batch_timeout)
