"""A fit that exports where packages are not installed: `python -m tests.export.without_packages FOLDER PACKAGE ...`."""

import json
import sys
import warnings
from importlib.machinery import PathFinder


class Without:
    """Finds all that is installed but some packages.

    Args:
        packages: their names.
    """

    def __init__(self, packages):
        self.packages = packages
        self.find_distributions = PathFinder.find_distributions
        self.invalidate_caches = PathFinder.invalidate_caches

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in self.packages else PathFinder.find_spec(name, path, target)


def main(folder, *packages):
    sys.meta_path[sys.meta_path.index(PathFinder)] = Without(packages)
    from lightning_posttrain import ModelExport, posttrain_suite
    from tests import toys

    posttrain_suite()
    warnings.simplefilter("ignore")
    export = ModelExport(formats=["onnx", "pt2", "safetensors"], folder=f"{folder}/out", on_error="raise")
    toys.quiet([export], default_root_dir=folder).fit(toys.Net(), toys.loader(), toys.loader())
    sys.stdout.write(json.dumps({one.name: one.reason for one in export.results["val"].formats}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
