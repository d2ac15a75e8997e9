"""Where artifacts go. Files on disk are the truth; a logger is a view of it."""

from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.find import find_sinks
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink

__all__ = ["FolderSink", "Sink", "TensorBoardSink", "find_sinks"]
