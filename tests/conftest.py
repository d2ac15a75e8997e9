import os

# before torch is loaded: two workers with as many threads each as there are cores get in each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

# how long an example takes says something of the machine, not of the code
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    """What a Trainer writes by default goes to the test's folder; every test starts from the same seed."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


@pytest.fixture
def written(monkeypatch):
    """What is written on any canvas: each text and its options, in order."""
    from lightning_posttrain.core.drawing.canvas import Canvas

    texts = []
    write = Canvas.text

    def text(canvas, x, y, said, **options):
        texts.append((said, options))
        write(canvas, x, y, said, **options)

    monkeypatch.setattr(Canvas, "text", text)
    return texts
