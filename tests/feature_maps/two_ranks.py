"""Two ranks that fit and test with feature maps, each writing what it knows of them."""

import json
import sys
from pathlib import Path

from lightning.pytorch import Callback

from lightning_posttrain import FeatureMaps
from tests import toys
from tests.feature_maps import networks
from tests.feature_maps.test_callback import Module, pictures


class Write(Callback):
    """Writes figures and what monitors see."""

    def __init__(self, maps, folder):
        self.maps, self.folder = maps, folder

    def on_fit_end(self, trainer, pl_module):
        result = self.maps.results["val"]
        seen = {key: float(value) for key, value in trainer.callback_metrics.items() if "feature_maps" in key}
        found = {"scalars": result.scalars(), "stages": len(result.stages), "seen": seen}
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))


def main(folder):
    maps, loader = FeatureMaps(on_error="raise", every_n_epochs=2), toys.loader(pictures())
    options = {"strategy": "ddp_fork", "devices": 2, "max_epochs": 3, "default_root_dir": folder}
    toys.quiet([maps, Write(maps, folder)], **options).fit(Module(networks.ResNet()), loader, loader)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
