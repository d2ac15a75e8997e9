"""A run in words, where nothing else is known of it than its classification report."""

from __future__ import annotations

from lightning_posttrain.core.output.run_folder import RunFolder


def headline_of(folder: RunFolder, stage: str) -> str:
    """How good a stage is, in one line.

    Args:
        folder: of the run.
        stage: as ``"test"``.
    """
    return next(iter(sentences_of(folder, stage)), f"{stage}: all is written.")


def sentences_of(folder: RunFolder, stage: str) -> tuple[str, ...]:
    """How many rows were right, of a stage that has a classification report."""
    record = folder.record(stage, "classification_report") or {}
    accuracy = record.get("accuracy")
    if not isinstance(accuracy, float):
        return ()
    return (f"{stage}: accuracy {accuracy:.1%}.",)
