"""There is one stream for a trainer."""

from contextlib import nullcontext

from lightning_posttrain import ConfusionMatrix
from lightning_posttrain.core.stream.stream import EvaluationStream
from tests import toys


def test_a_stream_is_made_when_it_is_first_asked_for_and_not_again(monkeypatch):
    made = []
    start = EvaluationStream.__init__

    def counted(stream):
        made.append(stream)
        start(stream)

    monkeypatch.setattr(EvaluationStream, "__init__", counted)
    trainer, other = toys.quiet(), toys.quiet()
    streams = [EvaluationStream.of(one) for one in (trainer, trainer, other, trainer)]
    assert made == [streams[0], streams[2]]
    assert streams[0] is streams[1] is streams[3] is not streams[2]


def test_a_clock_is_told_of_reading_until_the_run_ends():
    """The last callback that leaves takes the clock along."""
    told = []

    def clock(action):
        told.append(action)
        return nullcontext()

    trainer, callback = toys.quiet(), ConfusionMatrix()
    stream = EvaluationStream.of(trainer)
    stream.join(callback, trainer)
    stream.book(clock)
    stream.pause(paused=True)
    stream.leave(callback)
    stream.pause(paused=False)
    assert told == ["lightning_posttrain: reading"]
