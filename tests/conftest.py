import pytest
import torch


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    """What a Trainer writes by default goes to the test's folder; every test starts from the same seed."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
