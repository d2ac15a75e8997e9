import pytest

from lightning_posttrain.core.drawing.canvas import Canvas


@pytest.fixture
def written(monkeypatch):
    """What is written on any canvas: each text and its options, in order."""
    texts = []
    write = Canvas.text

    def text(canvas, x, y, said, **options):
        texts.append((said, options))
        write(canvas, x, y, said, **options)

    monkeypatch.setattr(Canvas, "text", text)
    return texts
