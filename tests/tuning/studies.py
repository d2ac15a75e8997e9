"""Studies that were never run, for what is made of them."""

import math
import random

from lightning_posttrain.tuning.result import Study, Trial

SPACE = {
    "model.lr": (1e-4, 1.0, "log"),
    "model.width": [16, 32, 64],
    "model.depth": (1, 5),
    "model.dropout": (0.0, 0.5),
    "data.augment": [True, False],
}


def drawn(space, generator):
    params = {}
    for name, wanted in space.items():
        if isinstance(wanted, list):
            params[name] = generator.choice(wanted)
        elif isinstance(wanted[0], int):
            params[name] = generator.randint(*wanted[:2])
        else:
            power = generator.uniform(0, 1)
            log = "log" in wanted
            low, high = wanted[:2]
            params[name] = low * (high / low) ** power if log else low + power * (high - low)
    return params


def loss(params):
    """Least at a learning rate of 0.01, whatever else."""
    return 0.5 + 0.1 * (math.log10(params["model.lr"]) + 2) ** 2 + 0.001 * params["model.depth"]


def study(number=20, *, states=("complete",), space=SPACE, value=loss, seed=0, **options):
    """A study whose trials have each of ``states`` in turn."""
    generator = random.Random(seed)
    trials = []
    for n in range(number):
        params, status = drawn(space, generator), states[n % len(states)]
        found = value(params)
        trials.append(
            Trial(
                n, params, status, found if status == "complete" else None, step=100, seconds=2.0,
                reason="RuntimeError: out of memory" if status == "failed" else "",
                curve={50: found + 0.2, 100: found + 0.1} if status in ("complete", "pruned") else {},
                folder=f"trials/{n:04d}",
            )
        )  # fmt: skip
    said = {"name": "digits", "monitor": "val/log_loss", "mode": "min", "sampler": "tpe", "pruner": "median"}
    return Study(space=space, trials=tuple(trials), **{**said, **options})
