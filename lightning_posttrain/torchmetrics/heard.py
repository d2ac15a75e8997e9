"""What a step gave to its own losses and metrics, as the arguments of another metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torchmetrics import Metric

from lightning_posttrain.core.capture.hearing_mode import OF_VALUES
from lightning_posttrain.core.capture.memory import is_of
from lightning_posttrain.core.capture.target_and_inputs import describe
from lightning_posttrain.core.capture.witness import Pair


class HeardArguments:
    """The prediction and target that reached a loss or a metric, step after step from the same place.

    Args:
        metrics: for which they are, by name.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        modules = [type(metric).__module__.split(".") for metric in metrics.values()]
        rooms = {names[1] if names[0] == "torchmetrics" and len(names) > 1 else "" for names in modules}
        self._of_values = rooms == {"regression"}
        self._of_classes = rooms == {"classification"}
        self._place: tuple[str, int] | None = None

    def take(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor] | None:
        """The arguments; None where the step gave none.

        Raises:
            ValueError: it gave several.
        """
        if self._place is None:
            chosen = self._chosen([pair for pair in pairs if pair.kind != "comparison"])
            if chosen is None:
                return None
            self._place = (chosen.by, chosen.number)
        found = next((pair for pair in pairs if (pair.by, pair.number) == self._place), None)
        if found is None:
            raise ValueError(
                f"this step gave nothing to {self._place[0]}, as the first one did. Pass "
                "update_fn=lambda outputs, batch: (..., ...)."
            )
        return found.prediction, found.target

    def _chosen(self, pairs: Sequence[Pair]) -> Pair | None:
        fitting = [pair for pair in pairs if self._fits(pair)]
        different: list[Pair] = []
        for pair in fitting:
            if not any(_same(pair, other) for other in different):
                different.append(pair)
        if len(different) > 1:
            shown = ", ".join(f"{pair.by}: {describe(pair.prediction)}" for pair in different)
            raise ValueError(
                f"the step gives several pairs to losses and metrics ({shown}), and nothing says which are meant. Pass "
                "update_fn=lambda outputs, batch: (..., ...)."
            )
        return different[0] if different else None

    def _fits(self, pair: Pair) -> bool:
        """Whether a pair is of the kind that the metric is for, as far as both tell."""
        kinds = {pair.by in OF_VALUES or ".regression" in type(pair.owner).__module__}
        if isinstance(pair.prediction, Tensor) and isinstance(pair.target, Tensor):
            return True not in kinds if self._of_classes else False not in kinds if self._of_values else True
        return not (self._of_classes or self._of_values)


def _same(a: Pair, b: Pair) -> bool:
    pairs = ((a.prediction, b.prediction), (a.target, b.target))
    return all(is_of(x, y) if isinstance(y, Tensor) else x is y for x, y in pairs)
