"""What stands in a module, while it is run for our sake, for what could not be put back after it was used."""

from __future__ import annotations

import warnings
from typing import Any, NoReturn


class CannotBePutBackError(RuntimeError):
    """A run of the module for our sake would change what cannot be copied."""


class StandIn:
    """Raises when it is used; until then nothing has changed.

    Args:
        reason: what it stands for, and why that is not to be used.
    """

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __repr__(self) -> str:
        return f"<{self._reason}>"

    def __bool__(self) -> bool:
        return True

    def _refuse(self, *_args: Any, **_options: Any) -> NoReturn:
        raise CannotBePutBackError(self._reason)

    __getattr__ = __next__ = __iter__ = __len__ = __getitem__ = __setitem__ = __contains__ = __call__ = _refuse
    __enter__ = __array__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __rtruediv__ = __matmul__ = __rmatmul__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    @classmethod
    def __torch_function__(cls, _func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> NoReturn:
        waiting = [*args, *(kwargs or {}).values()]
        while waiting:
            value = waiting.pop()
            if isinstance(value, StandIn):
                value._refuse()
            waiting.extend(value if isinstance(value, (list, tuple)) else ())
        raise AssertionError("called without a stand-in")


def copied_iterator(iterator: Any, shared: list[Any]) -> Any:
    """An iterator of Python's own that gives what this one would give, which stays where it is.

    Args:
        iterator: what is copied, with the iterators of Python's own that it takes from.
        shared: gets what both take from.

    Raises:
        TypeError: it is one that cannot be copied, as a generator.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # itertools from Python 3.12 on
        make, arguments, *state = iterator.__reduce__()
    copied = make(*(_apart(argument, shared) for argument in arguments))
    if state and state[0] is not None:
        parts = state[0]
        # what itertools.cycle has seen so far is a list of its own, to which it adds
        own = (
            [one.copy() if type(one) is list else _apart(one, shared) for one in parts] if type(parts) is tuple else []
        )
        copied.__setstate__(tuple(own) if own else parts)
    return copied


def _apart(value: Any, shared: list[Any]) -> Any:
    if is_builtin_iterator(type(value)):
        return copied_iterator(value, shared)
    shared.append(value)
    return value


def is_builtin_iterator(kind: type) -> bool:
    """Whether it is of Python's own iterators, or a generator."""
    return hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools", "_collections")
