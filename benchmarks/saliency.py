"""What attribution maps cost, and whether they are complete: ours beside captum, and our picture beside matplotlib's.

    python benchmarks/saliency.py [--device cuda] [--rounds 5]

All times are medians over interleaved rounds in one process, one thread, as ratios. Needs captum and matplotlib, which
come with the package; the networks are those of the tests.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import captum.attr
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as PILImage
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from lightning_posttrain.attribution.attribute import attribute
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.path_methods import IntegratedGradients
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.rule_methods import DeepLift
from lightning_posttrain.attribution.session import gradient_session
from lightning_posttrain.core.output.sinks.encode import encoded
from lightning_posttrain.saliency.result import Saliency
from lightning_posttrain.samples.render.overview import maps_image
from lightning_posttrain.samples.result import Sample

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.accumulate import resnet18
from tests import nets

LAST_BLOCK = "11"

Work = Callable[[], Any]


def interleaved(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Median seconds of each, one after the other in every round."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number:  # the first round warms up
                taken[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in taken.items()}


def of_class(net: nn.Module, x: Tensor, target: Tensor, chunk: int = 64) -> Problem:
    def score(rows: Tensor, which: Tensor) -> Tensor:
        return net(rows).gather(1, target[which][:, None])[:, 0]

    return Problem(score, x, torch.zeros_like(x), 1, net, layer=LAST_BLOCK, chunks=Chunks(chunk, device=x.device))


def speed(device: str, rounds: int) -> None:
    net = resnet18(1000).to(device)
    x, target = torch.randn(4, 3, 224, 224, device=device), torch.arange(4, device=device)
    shared = ("saliency", "input_x_gradient", "hirescam", "gradcam", "gradcam_plus_plus", "layercam")
    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def one_pass(rows: Tensor = x) -> None:
        leaf = rows.clone().requires_grad_()
        torch.autograd.grad(net(leaf).gather(1, target[: len(rows), None]).sum(), leaf)

    def captum_three() -> None:
        captum.attr.Saliency(net).attribute(x.clone().requires_grad_(), target)
        captum.attr.InputXGradient(net).attribute(x.clone().requires_grad_(), target)
        captum.attr.LayerGradCam(net, net.get_submodule(LAST_BLOCK)).attribute(x.clone().requires_grad_(), target)

    def in_session(names: tuple[str, ...], chunk: int) -> None:
        with gradient_session(net):
            attribute(names, of_class(net, x, target, chunk))

    one = interleaved(
        {
            "one forward and input-backward": one_pass,
            "six maps of one pass (ours)": lambda: in_session(shared, 64),
            "three calls of captum": captum_three,
        },
        rounds,
    )
    base = one["one forward and input-backward"]
    print("| ResNet-18, 4 images of 224 px | times one forward and backward |\n|---|---|")
    for name, seconds in one.items():
        print(f"| {name} | {seconds / base:.2f} |")
    small, few = resnet18(1000).to(device), torch.randn(4, 3, 64, 64, device=device)
    for parameter in small.parameters():
        parameter.requires_grad_(False)
    path = {
        "16 forwards and backwards": lambda: [
            torch.autograd.grad(small(leaf := few.clone().requires_grad_())[:, 0].sum(), leaf) for _ in range(16)
        ],
        "integrated gradients, 16 steps (ours)": lambda: _path(small, few, target),
        "integrated gradients, 16 steps (captum)": lambda: captum.attr.IntegratedGradients(small).attribute(
            few, target=0, n_steps=16, method="gausslegendre", internal_batch_size=4
        ),
    }
    found = interleaved(path, rounds)
    print("\n| 4 images of 64 px, 4 at a time | times 16 forwards and backwards |\n|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds / found['16 forwards and backwards']:.2f} |")


def _path(net: nn.Module, x: Tensor, target: Tensor) -> None:
    with gradient_session(net):
        IntegratedGradients(most=16).attribute(of_class(net, x, target, 4))


def completeness() -> None:
    print("\n| DeepLIFT: share of the change missing | ours, zero | captum, zero | ours, random | captum, random |")
    print("|---|---|---|---|---|")
    for name in nets.NETS:
        net, target = nets.made(name), torch.arange(8) % 5
        x = torch.randn(8, 3, 16, 16)
        cells = [name]
        for nothing in (torch.zeros_like(x), torch.randn_like(x)):
            change = (net(x) - net(nothing)).gather(1, target[:, None])[:, 0].detach()
            problem = of_class(net, x, target)
            problem.baseline, problem.layer = nothing, None
            with gradient_session(net):
                ours = DeepLift().attribute(problem).flatten(1).sum(1)
            cells.append(_missing(ours, change))
            try:
                theirs = captum.attr.DeepLift(net).attribute(x, nothing, target).detach().flatten(1).sum(1)
                cells.append(_missing(theirs, change))
            except (RuntimeError, AssertionError, TypeError) as error:
                cells.append(f"raises {type(error).__name__}")
        print("| " + " | ".join(cells) + " |")


def _missing(total: Tensor, change: Tensor) -> str:
    share = float((total - change).abs().mean() / change.abs().mean())
    return f"{share:.1e}" if share < 1e-3 else f"{share:.0%}"


def parts(photo: Tensor) -> Tensor:
    """Eight pieces of 224 pixels of a photograph ``(H, W, 3)``, which overlap."""
    rows, columns = (0, photo.shape[0] - 224), (0, 130, 260, photo.shape[1] - 224)
    return torch.stack([photo[y : y + 224, x : x + 224] for y in rows for x in columns])


def picture(rounds: int) -> None:
    names = ("saliency", "input_x_gradient", "integrated_gradients", "hirescam")
    photos = torch.cat([parts(torch.from_numpy(photo.copy())) for photo in load_sample_images().images])[:16]
    shown = (photos / 255).contiguous()
    torch.manual_seed(0)
    net = resnet18(1000).eval()
    with gradient_session(net):
        maps = attribute(names, of_class(net, shown.movedim(3, 1) - 0.5, torch.arange(16))).maps
    samples = tuple(Sample(i, "cat", 1.0, "cat", "cat", 0.9) for i in range(16))
    result = Saliency("image", shown, maps, dict(zip(names, names, strict=True)), frozenset(names[1:]), samples)

    def with_matplotlib() -> bytes:
        figure = Figure(figsize=(11.2, 35.84), dpi=100)
        FigureCanvasAgg(figure)
        for row in range(16):
            for column, image in enumerate([shown[row], *(maps[name][row] for name in names)]):
                axes = figure.add_subplot(16, 5, row * 5 + column + 1)
                axes.imshow(image.numpy(), cmap="RdBu_r")
                axes.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()

    ours: dict[str, Any] = {}
    times = interleaved(
        {"ours": lambda: ours.update(image=maps_image(result)), "matplotlib": with_matplotlib}, min(rounds, 2)
    )
    image = ours["image"]
    png = io.BytesIO()
    PILImage.fromarray(np.asarray(image.pixels)).save(png, format="PNG")
    print("\n| a grid of 16 images × 4 methods at 224 px | |\n|---|---|")
    print(f"| matplotlib's time over ours | {times['matplotlib'] / times['ours']:.1f} |")
    share = len(encoded(image).content) / len(png.getvalue())
    print(f"| our bytes, as JPEG, over those of the same as PNG | {share:.2f} |")
    print(f"| ours, ms | {times['ours'] * 1000:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    speed(arguments.device, arguments.rounds)
    completeness()
    picture(arguments.rounds)


if __name__ == "__main__":
    main()
