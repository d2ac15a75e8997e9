import pytest


@pytest.fixture
def without_pictures(monkeypatch):
    """Studies that draw nothing after their trials, which takes longer than these."""
    monkeypatch.setattr("lightning_posttrain.tuning.outputs.write.write_views", lambda study, store: None)
