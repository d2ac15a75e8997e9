"""Whether what is answered is like what was tested, window by window."""

from __future__ import annotations

import threading
from typing import Any, final

from numpy.typing import NDArray

from lightning_posttrain.export.drift.counts import DriftCounts, DriftFindings
from lightning_posttrain.export.drift.functional import WORTH_SAYING
from lightning_posttrain.export.drift.reference import LEAST_ROWS, DriftReference
from lightning_posttrain.export.drift.rows import row_answer, row_confidence

Array = NDArray[Any]


@final
class DriftWatch:
    """Compares answers with those of the reference, window by window.

    Each ``window`` answers are counted, and compared once, when they are complete; what was found stands until the next
    window is complete. An alarm says that the population stability index of confidence, or of the predicted classes, is
    over its limit. Without drift a share ``alarms`` of windows raises one at most, half of it for each of the two, over
    references and windows. A look at the last answers at every moment would raise many more, as each is another chance.
    An index up to ``worth_saying`` raises none, however sure it is: in windows of some hundreds and more that is what
    decides, alarms are rarer than asked for, and shifts that small are not told.

    Not to be seen from scores: a model that is as sure as ever, of the same classes as ever, and wrong.

    Args:
        reference: of the manifest.
        window: how many answers are compared at a time. More show smaller shifts, later.
        alarms: share of windows without drift that raise an alarm, at most.
        worth_saying: the index up to which there is no alarm.

    Raises:
        ValueError: a window that is too short, a share that is none, or an index below 0.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> def answers(rows, sure):
        ...     said = rng.dirichlet([sure, 1.0, 1.0], rows)
        ...     return said, said.argmax(axis=1)
        >>> watch = DriftWatch(DriftReference.of(*answers(2000, 9.0)), window=500)
        >>> watch.add(*answers(500, 9.0))
        >>> watch.words()[:55]
        'no sign of drift in answers 1 to 500: confidence (PSI 0'
        >>> watch.add(*answers(500, 2.0))
        >>> watch.figures()["alarm"], watch.words()[:68]
        (1.0, 'drift: answers 501 to 1,000 are unlike the reference in confidence (')
    """

    def __init__(
        self,
        reference: DriftReference,
        *,
        window: int = 1000,
        alarms: float = 1e-3,
        worth_saying: float = WORTH_SAYING,
    ) -> None:
        if window < LEAST_ROWS:
            raise ValueError(f"`window` is {window}, wanted {LEAST_ROWS} answers at least. 1,000 is usual.")
        if not 0 < alarms < 1:
            raise ValueError(f"`alarms` is {alarms}, wanted a share between 0 and 1. 0.001 is usual.")
        if not worth_saying >= 0:
            raise ValueError(f"`worth_saying` is {worth_saying}, wanted 0 or more. {WORTH_SAYING} is usual.")
        self.reference = reference
        self.window = window
        self.alarms = alarms
        self.worth_saying = worth_saying
        self._lock = threading.Lock()
        self._now, self._before = DriftCounts(reference), DriftCounts(reference)
        self._found: DriftFindings | None = None

    def add(self, probabilities: Array, decision: Array) -> None:
        """Count a batch of answers. Threads may call it at the same time.

        Args:
            probabilities: what the model gave, ``(N, C, ...)``.
            decision: what it gave, ``(N, ...)`` or, of labels, ``(N, L, ...)``.
        """
        task = self.reference.task
        confidence, answers = row_confidence(probabilities, task), row_answer(probabilities, decision, task)
        with self._lock:
            while len(answers):
                room = self.window - self._now.rows
                self._now.add(confidence[:room], answers[:room])
                confidence, answers = confidence[room:], answers[room:]
                if self._now.rows == self.window:
                    self._compare()

    def _compare(self) -> None:
        self._found = self._findings(self._now)
        self._before.merge(self._now)
        self._now = DriftCounts(self.reference)

    def _findings(self, counts: DriftCounts) -> DriftFindings:
        return counts.findings(alarms=self.alarms, worth_saying=self.worth_saying)

    def figures(self) -> dict[str, float]:
        """Figures by name, as a monitor takes them; there are none of a window before one is complete.

        ``alarm`` is 0 or 1, of the last complete window, as are ``psi_confidence`` and ``psi_class`` with their limits,
        and ``accuracy_at_most_about`` beside ``reference_accuracy``, both of rows with an answer. With
        ``_since_start``, all answers are compared; limits are those of one look, and no alarm is raised.
        """
        with self._lock:
            whole = DriftCounts(self.reference)
            whole.merge(self._before)
            whole.merge(self._now)
            found = self._found
        named = {"alarm": float(found is not None and found.alarm), "rows": float(whole.rows)}
        named["window"] = float(self.window)
        if self.reference.accuracy is not None:
            named["reference_accuracy"] = self.reference.accuracy
        if found is not None:
            named.update(found.figures())
        if whole.rows >= LEAST_ROWS:
            named.update(self._findings(whole).figures("_since_start"))
        return named

    def words(self) -> str:
        """One sentence on the last complete window."""
        with self._lock:
            found, done, waiting = self._found, self._before.rows, self._now.rows
        if found is None:
            return f"too few answers yet: {waiting:,} of the {self.window:,} that are compared at a time."
        said = found.words(f"answers {done - self.window + 1:,} to {done:,}")
        if found.accuracy is not None and self.reference.accuracy is not None:
            said += f"; accuracy at most about {found.accuracy:.3f}, {self.reference.accuracy:.3f} on the reference"
        return f"{said}."
