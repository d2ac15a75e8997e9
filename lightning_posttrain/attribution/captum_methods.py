"""Methods that others wrote: captum's, and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_posttrain.attribution.layers import layout, to_maps
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import NotApplicableError, Problem


@final
@dataclass(frozen=True)
class Captum(Method):
    """Any of captum's attribution classes, with arguments for its ``attribute``.

    It is given a function of one scalar a row, so that ``target`` has no place among the arguments. Where it is a
    layer attribution, the layer is the one for class activation maps.

    Args:
        method: a class of ``captum.attr``, by name or itself, as ``"ShapleyValueSampling"``.
        arguments: for its ``attribute``; ``baselines`` are the problem's where it takes them.

    Example:
        >>> Captum("ShapleyValueSampling", {"n_samples": 5}).name
        'ShapleyValueSampling'
    """

    method: Any = "Saliency"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.method, str) and not hasattr(_captum(), self.method):
            raise ValueError(f"`method` is {self.method!r}, wanted the name of a class in captum.attr.")
        made = getattr(_captum(), self.method) if isinstance(self.method, str) else self.method
        object.__setattr__(self, "method", made)
        object.__setattr__(self, "name", made.__name__)
        object.__setattr__(self, "title", made.__name__)

    def attribute(self, problem: Problem) -> Tensor:
        """What captum gives, of the inputs' shape, or of the layer's."""
        import inspect

        model = _Scalar(problem)
        layered = "layer" in inspect.signature(self.method).parameters
        if layered and problem.layer is None:
            raise NotApplicableError("no layer is laid out as the input is; name one with layer=...")
        layer = (problem.module.get_submodule(problem.layer),) if layered and problem.module and problem.layer else ()
        explainer = self.method(model, *layer)
        given = inspect.signature(explainer.attribute).parameters
        more = {"baselines": problem.baseline} if "baselines" in given else {}
        parts: list[Tensor] = []

        def add(rows: Tensor) -> None:
            which = problem.beside(rows)
            arguments = {name: value[which] for name, value in more.items()} | dict(self.arguments)
            found = explainer.attribute(
                problem.inputs[which].clone().requires_grad_(), additional_forward_args=(which,), **arguments
            )
            found = found[0] if isinstance(found, tuple) else found
            parts.append(found.detach())

        problem.chunks.run(len(problem), add)
        values = torch.cat(parts)
        if values.shape == problem.inputs.shape or values.shape[1:] == problem.spatial:
            return values
        laid = layout(values, problem.spatial)
        if laid is None:
            raise NotApplicableError(f"captum gives {tuple(values.shape)}, which does not lie over the input")
        return to_maps(values, laid).sum(1)


class _Scalar(nn.Module):
    """The explained function as a module, whose parts are those of the model, for captum's hooks."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = problem.module if problem.module is not None else nn.Identity()
        self.training = False
        self._score = problem.score

    def forward(self, rows: Tensor, which: Tensor) -> Tensor:
        return self._score(rows.clone(), which)


def _captum() -> Any:
    import captum.attr

    return captum.attr


@final
@dataclass(frozen=True)
class Own(Method):
    """A function from a ``Problem`` to values of the inputs' shape, or maps ``(K, *grid)``.

    Args:
        function: has a ``__name__``, which is that of the method.
    """

    function: Callable[[Problem], Tensor] = lambda problem: problem.inputs

    def __post_init__(self) -> None:
        name = getattr(self.function, "__name__", type(self.function).__name__).strip("<>")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "title", name.replace("_", " "))

    def attribute(self, problem: Problem) -> Tensor:
        """What the function gives."""
        return self.function(problem)
