"""Something done before and after the forward of a module that is given no hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Around:
    """Stands before a module's ``forward`` until ``remove``; the last that was placed is removed first.

    A ``TransformerEncoderLayer`` takes another way, whose last digits differ, where it or a part of it has a hook.

    Args:
        module: whose forward it is.
        before: called with the module, the arguments and the keyword arguments.
        after: called with the module, the arguments, the keyword arguments and the output.
        always: call ``after`` after an exception, too, with None for the output.
    """

    def __init__(
        self, module: nn.Module, before: Callable[..., Any], after: Callable[..., Any], *, always: bool = False
    ) -> None:
        self._module, self._own = module, vars(module).get("forward")
        forward = module.forward

        def around(*args: Any, **kwargs: Any) -> Any:
            before(module, args, kwargs)
            try:
                output = forward(*args, **kwargs)
            except BaseException:
                if always:
                    after(module, args, kwargs, None)
                raise
            after(module, args, kwargs, output)
            return output

        vars(module)["forward"] = around

    def remove(self) -> None:
        """Leave the module as it was."""
        if self._own is None:
            vars(self._module).pop("forward", None)
        else:
            vars(self._module)["forward"] = self._own
