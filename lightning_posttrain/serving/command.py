"""``lightning-posttrain serve FOLDER``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lightning_posttrain.core.output.console import write_line
from lightning_posttrain.export import Manifest
from lightning_posttrain.serving.address import KEY
from lightning_posttrain.serving.answering import Watch
from lightning_posttrain.serving.limits import Limits, body_bytes_for
from lightning_posttrain.serving.refusal import CannotServeError

REFUSED = 2
"""Exit code of what does not begin."""
OF_EXTRA = ("onnxruntime", "starlette", "uvicorn")


def command(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 1,
    grace: float = 0.0,
    seconds: float = 30.0,
    window: int = 1000,
) -> int:
    """Serve an exported folder until SIGTERM or SIGINT.

    The key that clients send as ``X-API-Key`` is read from the environment, ``LIGHTNING_POSTTRAIN_KEY``; without it
    only this machine is served.

    Args:
        folder: what ``ModelExport`` wrote.
        host: a name or an address of this machine.
        port: 0 for a free one, which is printed.
        threads: of the model.
        grace: seconds from a signal to the end of listening, in which ``/ready`` says no.
        seconds: of a request at most.
        window: answers that are compared with those of the test at a time, where the folder has a reference.

    Returns:
        The exit code: 0; 1 where a request was left without an answer; 2 where the server did not begin.
    """
    try:
        from lightning_posttrain.export import load
        from lightning_posttrain.serving.server import serve
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in OF_EXTRA:
            raise
        return _refused(f"{package} is not installed. Run `pip install 'lightning-posttrain[serve]'`.")
    try:
        predictor = load(folder, threads=threads)
        watch = _watch(predictor.manifest, window)
        limits = Limits(seconds=seconds, body_bytes=body_bytes_for(predictor.signature))
        key = os.environ.get(KEY) or None
        return serve(predictor, say=_say, host=host, port=port, key=key, grace=grace, limits=limits, watch=watch)
    except (CannotServeError, ImportError, OSError, ValueError) as error:
        return _refused(str(error))


def _watch(manifest: Manifest, window: int) -> Watch | None:
    """Over answers beside those of the test."""
    if manifest.reference is None:
        return None
    from lightning_posttrain.export import DriftReference, DriftWatch

    watch: Watch = DriftWatch(DriftReference.from_dict(manifest.reference), window=window)
    return watch


def _say(line: str) -> None:
    write_line(sys.stdout, line)


def _refused(reason: str) -> int:
    write_line(sys.stderr, f"lightning-posttrain serve: {reason}")
    return REFUSED
