"""The page at ``/``: what is served, and how to ask."""

from __future__ import annotations

from html import escape

from lightning_posttrain.__about__ import __version__
from lightning_posttrain.export import TensorSpec
from lightning_posttrain.serving.image import pictures
from lightning_posttrain.serving.service import Service

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }}
code {{ background: #f3f4f6; padding: .1em .3em }}</style>
<h1>{name}</h1>
<p>Exported {created}, served by lightning-posttrain {version}.
<p><code>POST /predict</code> takes <code>{one}</code>, or <code>{many}</code> for up to {most:,} rows.
<p>A row: {rows}.
<p>Pictures: {pictures}.
<p>The answer: {decision}.
<ul><li><a href="info">info</a>: the manifest, limits and drift<li><a href="openapi.json">openapi.json</a>: how to ask
<li><a href="metrics">metrics</a>: for Prometheus
<li><a href="health">health</a>: whether it lives, <a href="ready">ready</a>: whether to send requests</ul>
"""


def page(service: Service) -> str:
    """HTML of a service, with nothing from elsewhere."""
    manifest, several = service.manifest, len(service.manifest.signature.inputs) > 1
    taken = pictures(manifest)
    return PAGE.format(
        name=escape(manifest.name), created=escape(manifest.created), version=__version__,
        one='{"row": {name: …}}' if several else '{"row": …}',
        many='{"rows": [{name: …}, …]}' if several else '{"rows": […, …]}',
        most=service.limits.rows, decision=escape(manifest.decision.words),
        rows=escape(", ".join(map(_row, manifest.signature.inputs))),
        pictures=escape(f"none, as {taken}" if isinstance(taken, str) else taken.words),
    )  # fmt: skip


def _row(spec: TensorSpec) -> str:
    """A row of an input in words, as ``x, float32 (1, 8, 8)``."""
    lengths = ", ".join("any" if size is None else str(size) for size in spec.shape[1:])
    return f"{spec.name}, {spec.dtype} ({lengths})" if lengths else f"{spec.name}, one {spec.dtype}"
