"""Where artifacts go. Files on disk are the truth; a logger is a view of it."""

from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.find import sinks_of
from lightning_posttrain.core.output.sinks.folder import FolderSink
from lightning_posttrain.core.output.sinks.tensorboard import TensorBoardSink

__all__ = ["FolderSink", "Sink", "TensorBoardSink", "sinks_of"]
