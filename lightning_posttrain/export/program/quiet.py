"""Let an exporter say nothing on the user's terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

TALKERS = ("torch", "onnxscript", "onnx_ir", "onnx", "onnxruntime")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what exporters print, warn of and log; what goes wrong is raised, and said by whoever exports."""
    loggers = [logging.getLogger(name) for name in (*logging.root.manager.loggerDict, *TALKERS)]
    own = {logger for logger in loggers if logger.name.split(".")[0] in TALKERS}
    handlers = {handler for logger in own for handler in logger.handlers}
    of_root = list(logging.root.handlers)
    for one in (*own, *handlers):
        one.addFilter(_nothing)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for one in (*own, *handlers):
            one.removeFilter(_nothing)
        logging.root.handlers[:] = of_root  # `logging.warning` adds one, after which `basicConfig` does nothing


def _nothing(_record: logging.LogRecord) -> bool:
    return False
