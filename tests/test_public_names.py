import importlib
import pkgutil

import pytest

import lightning_posttrain

PACKAGES = [
    "",
    ".functional",
    ".calibrators",
    *(f".{m.name}" for m in pkgutil.iter_modules(lightning_posttrain.__path__) if m.ispkg),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_sorted_and_there(package):
    module = importlib.import_module(f"lightning_posttrain{package}")
    names = getattr(module, "__all__", [])
    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name))  # constants first, as ruff sorts
    assert all(hasattr(module, name) for name in names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'ConfusedMatrix'"):
        _ = lightning_posttrain.ConfusedMatrix


def test_dir_lists_the_public_names():
    assert dir(lightning_posttrain) == sorted(lightning_posttrain.__all__)
