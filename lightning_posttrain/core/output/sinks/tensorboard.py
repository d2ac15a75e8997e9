"""TensorBoard, through a ``SummaryWriter`` or anything that has its methods."""

from __future__ import annotations

import math
import re
from typing import Any, final

from lightning_posttrain.core.output.artifacts import (
    Artifact,
    Cell,
    ChartLayout,
    Image,
    Picture,
    PrecisionRecall,
    Table,
)
from lightning_posttrain.core.output.sinks.encode import decoded, encoded


@final
class TensorBoardSink:
    """Writes images, precision-recall curves and, as Markdown, tables; files have no place here.

    It may write from another thread than the one that logs scalars: a ``SummaryWriter`` puts each event into a queue,
    under a lock, for a thread of its own, so that no two events are mixed.

    Args:
        experiment: has ``add_image`` and ``add_text``.
        max_rows: a longer table ends with a line that says where the rest is.
    """

    def __init__(self, experiment: Any, *, max_rows: int = 100) -> None:
        self._experiment = experiment
        folder = getattr(experiment, "log_dir", None)
        self.disk = folder if isinstance(folder, str) else None
        self._max_rows = max_rows

    def __str__(self) -> str:
        return "TensorBoard"

    def write(self, tag: str, artifact: Artifact, step: int) -> None:
        """Write to the event file."""
        if isinstance(artifact, Picture) or (isinstance(artifact, Image) and not artifact.files_only):
            self._image(tag, artifact, step)
        elif isinstance(artifact, Table) and not artifact.files_only:
            self._text(tag, markdown(artifact, self._max_rows), step)
        elif isinstance(artifact, PrecisionRecall) and hasattr(self._experiment, "add_pr_curve_raw"):
            self._curve(tag, artifact, step)
        elif isinstance(artifact, ChartLayout) and self._file_writer() is not None:
            self._layout(artifact)

    def _curve(self, tag: str, curve: PrecisionRecall, step: int) -> None:
        tp, fp, tn, fn = (c.double() for c in vars(curve).values())
        precision = tp / (tp + fp).clamp(min=1)  # as the plugin itself where nothing is predicted
        recall = tp / (tp + fn).clamp(min=1)
        figures = [values.numpy() for values in (tp, fp, tn, fn, precision, recall)]
        self._experiment.add_pr_curve_raw(tag, *figures, step, num_thresholds=len(tp))

    def _image(self, tag: str, image: Image | Picture, step: int) -> None:
        """``add_image`` knows no JPEG, and would encode a PNG once more."""
        writer = self._file_writer()
        if writer is None:
            pixels = image.pixels.numpy() if isinstance(image, Image) else decoded(image)
            self._experiment.add_image(tag, pixels, step, dataformats="HWC")
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        picture = encoded(image) if isinstance(image, Image) else image
        summary = Summary.Image(
            height=picture.height, width=picture.width, colorspace=3, encoded_image_string=picture.content
        )
        writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=summary)]), step)

    def _text(self, tag: str, text: str, step: int) -> None:
        """``add_text`` puts "/text_summary" behind the tag and a frame around the text; this does not."""
        writer = self._file_writer()
        if writer is None:
            self._experiment.add_text(tag, text, step)
            return
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode(errors="backslashreplace")])
        metadata = create_summary_metadata(display_name="", description="")
        writer.add_summary(Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]), step)

    def _layout(self, layout: ChartLayout) -> None:
        """``add_custom_scalars`` takes tags as they are, where the page reads regular expressions."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.custom_scalar import layout_pb2, metadata

        groups = [
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name,
                        multiline=layout_pb2.MultilineChartContent(tag=[f"^{re.escape(tag)}$" for tag in tags]),
                    )
                    for name, tags in charts.items()
                ],
            )
            for title, charts in layout.groups.items()
        ]
        content = layout_pb2.Layout(category=groups).SerializeToString()
        tensor = TensorProto(dtype="DT_STRING", string_val=[content])
        value = Summary.Value(
            tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(), tensor=tensor
        )
        self._file_writer().add_summary(Summary(value=[value]), 0)

    def _file_writer(self) -> Any:
        """Takes summaries as they are; None where the experiment has none."""
        return getattr(self._experiment, "_get_file_writer", lambda: None)()


def markdown(table: Table, max_rows: int) -> str:
    r"""A table in TensorBoard's Markdown.

    Example:
        >>> print(markdown(Table(("class", "F1"), (("a|b", 0.5),), "All."), 10))
        | class | F1 |
        |---|---|
        | a\|b | 0.5000 |
        <BLANKLINE>
        All.
    """
    lines = [_line(table.columns), "|" + "---|" * len(table.columns), *map(_line, table.rows[:max_rows])]
    hidden = len(table.rows) - max_rows
    rest = f"{hidden} more rows stand in the CSV file. " if hidden > 0 else ""
    return "\n".join([*lines, "", rest + _escaped(table.note)]).rstrip()


def _line(cells: tuple[Cell, ...]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:.1e}" if 0 < abs(value) < 0.00005 else f"{value:.4f}"  # what is not 0 does not read as 0
    return "–" if value is None else _escaped(str(value))


def _escaped(text: str) -> str:
    """``text`` with Markdown's and HTML's marks made plain."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    return "".join(f"\\{c}" if c in "\\|*_`[]#" else c for c in plain)
