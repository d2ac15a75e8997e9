"""Figures of a server, in the text format of Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import final

PREFIX = "lightning_posttrain_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
NO_ANSWER = "(none)"
"""Stands for the label of rows that the model decides not to answer."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@final
class Histogram:
    """Counts of values, by the first edge that is not below.

    Args:
        edges: in rising order.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def lines(self, name: str, says: str) -> Iterable[str]:
        """In the text format, where each bucket has those below it, too."""
        yield from _head(name, "histogram", says)
        total = 0
        for edge, count in zip((*self.edges, math.inf), self.counts, strict=True):
            total += count
            yield f'{PREFIX}{name}_bucket{{le="{_number(edge)}"}} {total}'
        yield f"{PREFIX}{name}_sum {_number(self.sum)}"
        yield f"{PREFIX}{name}_count {total}"


@final
class Metrics:
    """What a server has done since it began."""

    def __init__(self) -> None:
        self.accepted = 0
        self.statuses: Counter[int] = Counter()
        self.seconds = Histogram(SECONDS)
        self.batch_rows = Histogram(ROWS)
        self.classes: Counter[str | None] = Counter()
        self.failed_rows = 0

    @property
    def answered(self) -> int:
        """Requests that had a response, whichever."""
        return sum(self.statuses.values())

    def request(self, status: int, seconds: float) -> None:
        """Count a request that has its response."""
        self.statuses[status] += 1
        self.seconds.add(seconds)

    def text(
        self, *, waiting_rows: int, ready: bool, build: Mapping[str, str], drift: Mapping[str, float] | None
    ) -> str:
        """All figures in the text format.

        Args:
            waiting_rows: of the queue.
            ready: whether requests should be sent.
            build: what runs, by name.
            drift: figures of a watch over the answers, or None.
        """
        lines = [
            *_family("requests_total", "counter", "Requests to /predict by status; 499: the client was gone.",
                     [({"status": str(status)}, count) for status, count in sorted(self.statuses.items())]),
            *self.seconds.lines("request_seconds", "Seconds of a request to /predict."),
            *self.batch_rows.lines("batch_rows", "Rows that the model answered at once."),
            *_family("queue_rows", "gauge", "Rows that wait for the model.", [({}, waiting_rows)]),
            *_family("answers_total", "counter", f"Answers by class; {NO_ANSWER}: the model decided for none.",
                     [({"label": NO_ANSWER if name is None else name}, n) for name, n in self.classes.items()]),
            *_family("failed_rows_total", "counter", "Rows that the model failed on.", [({}, self.failed_rows)]),
            *_family("ready", "gauge", "Whether requests should be sent.", [({}, int(ready))]),
            *_family("build_info", "gauge", "What runs.", [(build, 1)]),
        ]  # fmt: skip
        if drift is not None:
            samples = [({"figure": name}, value) for name, value in drift.items()]
            lines += _family("drift", "gauge", "Answers beside those of the test, and limits.", samples)
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, says: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {says}", f"# TYPE {PREFIX}{name} {kind}"]


def _family(name: str, kind: str, says: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = _head(name, kind, says)
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{PREFIX}{name}{f'{{{inside}}}' if inside else ''} {_number(value)}")
    return lines


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    if math.isfinite(value):
        return f"{value:.12g}"
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
