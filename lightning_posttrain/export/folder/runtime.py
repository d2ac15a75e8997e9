"""onnxruntime, as it is imported for an export or a server."""

from __future__ import annotations

import os
import sys
from typing import Any

INSTALL = "pip install 'lightning-posttrain[export]'"
TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Environment variable that onnxruntime reads once, when it is imported."""


def onnxruntime() -> Any:
    """The module.

    From 1.32 on it sends what it runs to its maker, unless it is told not to before its import: who exports has not
    asked for that, so it is told. Whoever sets ``ORT_DISABLE_TELEMETRY=0``, or imports it before, has it as it comes.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    silenced = "onnxruntime" not in sys.modules and TELEMETRY not in os.environ
    if silenced:
        os.environ[TELEMETRY] = "1"
    try:
        import onnxruntime as found
    except ModuleNotFoundError as error:
        said = f"An exported model runs in onnxruntime, which is not installed: {INSTALL}"
        raise ModuleNotFoundError(said, name=error.name) from error
    finally:
        if silenced:
            del os.environ[TELEMETRY]
    return found
