"""Feature maps of a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import SampleOptions, StreamCallback
from lightning_posttrain.core.callback.options import at_least, split
from lightning_posttrain.core.capture.loaders import Rows
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.feature_maps.result import FeatureMapsResult
from lightning_posttrain.feature_maps.run import FeatureMapsRun, named
from lightning_posttrain.samples.callback import SampleCallback
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.kinds import known_kind
from lightning_posttrain.samples.model_access import ModelAccess, ModelOptions
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.selection import Selection


@final
class FeatureMaps(SampleCallback, StreamCallback):
    """Draws, after every validation and test, what each level of a network sees of a few samples.

    One layer is taken for each resolution that the network works at, the last of each stage, as feature pyramids take
    it; of a network with one resolution, as a vision transformer, blocks at even depths. For each the picture shows
    some samples, a line each: the input; the energy, the root mean square over channels; the first three principal
    components of channels as red, green and blue; and the eight channels that vary most over samples. Samples are the
    same in every epoch, and channels and colours keep their places, so that TensorBoard's slider shows learning.

    Images, spectrograms, series and tokens are told by their shape, or named with ``kind``. No classes are needed. The
    module is left as it was. Samples and maps are those of the first rank; it takes one forward of the samples.

    Logged of each stage: ``dead``, the share of channels that are 0 everywhere on the samples; ``effective_rank``, how
    many directions the channels take, of as many as there are channels; ``border``, the share of energy at the
    outermost positions over their share of the area, 1 if these are like any other, more where padding is seen.

    Args:
        layers: dotted names of the layers, as ``["model.layer1", "model.layer4"]``. Default: found by a forward.
        samples: how many the figures, the channels and the components are of, the first of a loader; or positions in
            the dataset.
        drawn: how many of them are drawn.
        every_n_epochs: how often; the last epoch and tests are always drawn.
        **options: what every callback takes, see ``StreamCallback``; how inputs look, see ``InputOptions``: ``kind``,
            ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``; how the model is asked, see
            ``ModelOptions``: ``forward_fn``, ``precision``, ``seed``.

    Raises:
        ValueError: ``layers`` is empty or names what is not there, or a number is below 1.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> maps = FeatureMaps(samples=32, mean=[0.5], std=[0.25])
        >>> trainer = Trainer(callbacks=maps, logger=False)
    """

    tag = "feature_maps"
    of_classes = False

    def __init__(
        self,
        *,
        layers: Sequence[str] | None = None,
        samples: int | Sequence[int] = 16,
        drawn: int = 3,
        every_n_epochs: int = 1,
        **options: Unpack[SampleOptions],
    ) -> None:
        shown, asked, others = split(options, InputOptions, ModelOptions)
        super().__init__(**others)
        at_least("drawn", drawn, 1)
        at_least("every_n_epochs", every_n_epochs, 1)
        self.layers = named(layers)
        self.every_n_epochs = every_n_epochs
        self._display = Inputs(**shown)
        self._selection = Selection(samples, "fixed", self._display.kind, classes=False, tell=self._draws_nothing)
        self._access = ModelAccess(self, self._display.kind, **asked)
        self._run = FeatureMapsRun(layers=self.layers, drawn=drawn, access=self._access, display=self._display)

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; samples are chosen anew in each."""
        super().start(trainer, module, stage)
        self._run.forget()

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Choose samples; raise for a layer that is not there, which the first batch may have made."""
        self._run.check(module)
        super().see(trainer, module, outputs, batch, loader)

    def look(self, key: str, inputs: Tensor, loader: Any, prove: Callable[[Rows], Rows]) -> None:
        """Look at inputs that have positions."""
        if known_kind(inputs, self._display.kind) == "tabular":
            self._selection.refuse("rows of a table have no positions, and their layers no maps. Leave it out.")
        else:
            super().look(key, inputs, loader, prove)

    def explained(self, sample_set: SampleSet | None, trainer: Trainer) -> FeatureMapsResult | None:
        """Maps, on the first rank."""
        return self._run.explain(sample_set, trainer)

    def show(self, result: FeatureMapsResult, title: str) -> Iterator[Tagged]:
        """The picture, and the stages as a table."""
        from lightning_posttrain.feature_maps.render.overview import feature_maps_image
        from lightning_posttrain.feature_maps.render.table import stages_table

        if result.stages:
            yield Tagged(self.tag, feature_maps_image(result, title=title))
            yield Tagged(f"{self.tag}_stages", stages_table(result))

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw what the epochs left out."""
        for sample_set, result, new in self.last(trainer, self._run.explain):
            if new:
                self.write_last(trainer, sample_set.evaluation, result)
