"""The error that ends a study, and not a trial of it."""

from __future__ import annotations

from typing import final


@final
class StudyRefused(ValueError):
    """A setting that no trial can run with, or trials that fail alike from the start: it is not their parameters."""
