"""What a module keeps, as it is while the module is run for our sake: second forwards, sessions, members.

``kept_state`` is the one way to run a module outside of its step. ``kinds`` tells how an object is put back by its
type, ``keeping`` does it for each kind, ``walk`` finds them all. A new kind is a line in ``kinds.KINDS``, a function in
``keeping`` and what undoes it in ``contents``.
"""

from lightning_posttrain.core.capture.module_state.kept_state import kept_state
from lightning_posttrain.core.capture.module_state.stand_ins import CannotBePutBackError

__all__ = ["CannotBePutBackError", "kept_state"]
