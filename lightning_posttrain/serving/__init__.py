"""Serving: one process that answers for an exported folder.

``body`` makes rows of what a client sent, ``batching`` answers rows that wait together, ``app`` has the routes, and
``server`` runs them until it is told to end. ``adapters`` run the same predictor in the servers of others.
"""

from __future__ import annotations

__all__: list[str] = []
