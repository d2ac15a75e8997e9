"""What the thread in the background needs is imported before it works."""

from __future__ import annotations

import importlib.util
import pkgutil
from functools import cache

from PIL import Image as PILImage


@cache
def import_all(room: str) -> None:
    """Import a room, where there is one, and what Pillow loads when it first writes a file, in the main thread.

    A process that is forked while another thread imports a module, as a loader's workers are at the next epoch's
    start, would wait for ever to import that module itself.
    """
    if importlib.util.find_spec(room) is not None:
        for module in pkgutil.iter_modules(getattr(importlib.import_module(room), "__path__", ())):
            importlib.import_module(f"{room}.{module.name}")
    PILImage.preinit()
