"""What inputs are to a person: their kind, normalisation, names and words, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor

from lightning_posttrain.samples.colors import Colors, colors_of
from lightning_posttrain.samples.kinds import Kind, channel_dim, kind_of, known_kind, to_display


class InputOptions(TypedDict, total=False):
    """How inputs look to a person, as every callback that shows samples takes it.

    Args:
        kind: ``"image"``, ``"spectrogram"``, ``"series"``, ``"tabular"`` or ``"tokens"``; told from the shape.
        mean: of each channel or column, to undo a normalisation for the eye. Default: as the dataset's transforms say.
        std: of each channel or column, likewise.
        bands: three channels to show as red, green and blue.
        names: of columns or channels.
        words: of tokens: a list, or a function from a token to its name; one named ``""`` is left out, as padding.
        display_fn: from inputs to images ``(K, H, W, 3)`` in 0 to 1, where none of these is enough.
    """

    kind: Kind | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    bands: Sequence[int] | None
    names: Sequence[str] | None
    words: Sequence[str] | Callable[[int], str] | None
    display_fn: Callable[[Tensor], Tensor] | None


SHARED = ("mean", "std", "bands", "names", "words", "display_fn")
"""What holds for the inputs of a model, whichever callback it is said to."""


@dataclass(eq=False)
class Inputs:
    """What the inputs of a model are to a person, said once and used by every picture.

    What is not said is learned from the first batch of a run, see ``learn``.

    Args:
        kind: what they are. Default: told from the shape.
        mean, std: of each channel, or column of a table: a normalisation to undo.
        bands: channels shown as red, green and blue.
        names: of features or channels.
        words: a name for each token, or a function from a token to its name.
        display_fn: from inputs ``(K, ...)`` to images ``(K, H, W, 3)`` in 0 to 1.
    """

    kind: Kind | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    bands: Sequence[int] | None = None
    names: Sequence[str] | None = None
    words: Sequence[str] | Callable[[int], str] | None = None
    display_fn: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.names is not None:  # may be an array, which has no truth
            self.names = tuple(map(str, self.names))
        self._said = {option: getattr(self, option) for option in SHARED}
        self._colors = Colors()

    def learn(self, inputs: Any, others: Iterable[Inputs] = (), sources: Iterable[Any] = ()) -> None:
        """Take over what was said to other callbacks, and see how a batch of images becomes colours.

        Args:
            inputs: a batch, as the loader gave it.
            others: of other callbacks; what is said here, and what does not fit the batch, is not taken over.
            sources: loaders, whose datasets' transforms may tell the normalisation.
        """
        for option, value in self._said.items():
            setattr(self, option, value)
        self._colors = Colors()
        kind = known_kind(inputs, self.kind)
        if kind is None:
            return
        for other in others:
            self._take_over(other._said, inputs, kind)
        if kind == "image" and self.mean is None and self.std is None and self.display_fn is None:
            self._colors = colors_of(inputs, channel_dim(inputs.shape, kind), sources)

    def _take_over(self, said: Mapping[str, Any], inputs: Tensor, kind: Kind) -> None:
        dim = 1 if kind == "tabular" else channel_dim(inputs.shape, kind)
        count = 1 if dim is None else inputs.shape[dim]
        normalized = self.mean is not None or self.std is not None
        for option, value in said.items():
            scales = option in ("mean", "std")
            free = getattr(self, option) is None and not (scales and normalized)
            if free and value is not None and _fits(option, value, inputs, kind, count):
                setattr(self, option, value)

    @property
    def colors(self) -> str:
        """How values became colours, in a sentence; "" where it is as anybody would expect."""
        return self._colors.said

    def shown(self, inputs: Tensor, kind: Kind) -> Tensor:
        """The samples as a result holds them."""
        dim = channel_dim(inputs.shape, kind)
        if kind in ("image", "spectrogram"):
            if self.display_fn is not None:
                return self.display_fn(inputs).float().clamp(0, 1)
            mean, std = self.mean, self.std
            if kind == "image" and mean is None and std is None:
                mean, std, _ = self._colors
            return to_display(inputs, dim, mean=mean, std=std, bands=self.bands, together=kind == "image")
        if kind == "series":
            return inputs.float().unsqueeze(1) if dim is None else inputs.float().movedim(dim, 1)
        if kind == "tokens":
            return inputs
        scale = self.scale(inputs.shape[1])
        return inputs.float() if scale is None else inputs.float() * scale[1].float() + scale[0].float()

    def scale(self, columns: int) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation of each column of a table, each ``(F,)`` float64, where there are such."""
        if self.mean is None and self.std is None:
            return None
        mean, std = (torch.as_tensor(0.0 if x is None else x, dtype=torch.float64) for x in (self.mean, self.std))
        return mean.expand(columns), (std if self.std is not None else torch.ones(())).double().expand(columns)

    def check(self, inputs: Tensor) -> None:
        """Raise where there are not as many names as features or channels.

        Raises:
            ValueError: they differ.
        """
        kind = self.kind or kind_of(inputs)
        if self.names is not None and kind in ("tabular", "series"):
            dim = 1 if kind == "tabular" else channel_dim(inputs.shape, kind)
            count = 1 if dim is None else inputs.shape[dim]
            if len(self.names) != count:
                what = "features" if kind == "tabular" else "channels"
                raise ValueError(f"`names` has {len(self.names)} names, and inputs have {count} {what}.")

    def words_of(self, tokens: Tensor) -> tuple[tuple[str, ...], ...]:
        """The name of each token."""
        given = self.words
        if given is not None and not callable(given) and int(tokens.max()) >= len(given):
            raise ValueError(f"`words` has {len(given)} names, and there is token {int(tokens.max())}.")
        name: Callable[[int], str] = str if given is None else given if callable(given) else given.__getitem__
        return tuple(tuple(str(name(token)) for token in row) for row in tokens.tolist())


def _fits(option: str, value: Any, inputs: Tensor, kind: Kind, count: int) -> bool:
    """Whether what was said of other inputs can be meant of these, of so many columns or channels."""
    if option in ("mean", "std"):
        return kind != "tokens" and torch.as_tensor(value).numel() in (1, count)
    if option == "names":
        return kind in ("tabular", "series") and len(value) == count
    if option == "bands":
        return kind == "image" and max(value) < count
    if option == "words":
        return kind == "tokens" and (callable(value) or int(inputs.max()) < len(value))
    return kind in ("image", "spectrogram")
