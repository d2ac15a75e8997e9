"""What inputs are to a person: their kind, normalisation, names and words, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from lightning_posttrain.samples.kinds import Kind, channel_dim, kind_of, to_display


class InputOptions(TypedDict, total=False):
    """How inputs look to a person, as every callback that shows samples takes it.

    Args:
        kind: ``"image"``, ``"spectrogram"``, ``"series"``, ``"tabular"`` or ``"tokens"``; told from the shape.
        mean: of each channel or column, to undo a normalisation for the eye.
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


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the inputs of a model are to a person, said once and used by every picture.

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
            object.__setattr__(self, "names", tuple(map(str, self.names)))

    def shown(self, inputs: Tensor, kind: Kind) -> Tensor:
        """The samples as a result holds them."""
        dim = channel_dim(inputs.shape, kind)
        if kind in ("image", "spectrogram"):
            if self.display_fn is not None:
                return self.display_fn(inputs).float().clamp(0, 1)
            return to_display(inputs, dim, mean=self.mean, std=self.std, bands=self.bands)
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
