"""Serving: one process that answers for an exported folder.

``body`` makes rows of what a client sent, by means of ``rows``, ``npy`` and ``image``; ``batching`` answers rows that
wait together, ``running`` has a run of the model. ``service`` joins these, ``app`` has the routes, ``openapi``,
``metrics`` and ``page`` the documents, and ``server`` runs them until it is told to end. ``command`` is the command
line's.
``adapters`` run the same predictor in the servers of others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.serving.answering import Answering, Watch
from lightning_posttrain.serving.command import command
from lightning_posttrain.serving.limits import Limits

if TYPE_CHECKING:
    from lightning_posttrain.serving.server import serve

__all__ = [
    "Answering",
    "Limits",
    "Watch",
    "command",
    "serve",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.serving.server": [
            "serve",
        ],
    },
)
