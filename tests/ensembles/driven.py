"""Runs a driver in a process of its own, which may be killed, or whose members may be fitted on two ranks.

python -m tests.ensembles.driven KIND FOLDER [STRATEGY]
"""

import sys

from lightning.pytorch import LightningModule

from lightning_posttrain.ensembles import Bagging, Boosting, Seeds
from tests.ensembles import digits


class Net(digits.network(LightningModule)):
    """Found by its name, so that it can be pickled."""


KINDS = {
    "seeds": (Seeds, {}),
    "bagging": (Bagging, {}),
    "boosting": (Boosting, {}),
    "sampling": (Boosting, {"draw": "each epoch"}),
}


def main(kind, folder, strategy="auto"):
    driver, options = KINDS[kind]
    ranks = {"strategy": strategy, "devices": 1 if strategy == "auto" else 2}
    members, epochs = (6, 8) if strategy == "auto" else (3, 2)
    fits = driver(build=Net, members=members, monitor="val/loss", progress=False, **options).fit(
        digits.train(), digits.val(), folder=folder, max_epochs=epochs, accelerator="cpu", **ranks
    )
    sys.stdout.write(f"{fits}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
