"""Ranks that are all in this process."""

from collections.abc import Sequence

import torch

from lightning_posttrain.core.stream.exchange import Exchange, Told, joined, states_of
from lightning_posttrain.core.stream.metric import StreamMetric


def played(exchanges: Sequence[Exchange[object]]) -> list[torch.Tensor]:
    """Answer what ranks send each other until they end; the messages of the first."""
    answer, sent_first = None, []
    while True:
        sent = []
        for exchange in exchanges:
            try:
                sent.append(next(exchange) if answer is None else exchange.send(answer))
            except StopIteration:
                continue
        if not sent:
            return sent_first
        assert len(sent) == len(exchanges), "some ranks wait for others that have ended"
        assert len({(type(message), message.numbers.shape, message.numbers.dtype) for message in sent}) == 1
        numbers = torch.stack([message.numbers for message in sent])
        sent_first.append(numbers[0])
        answer = numbers if isinstance(sent[0], Told) else numbers.sum(0)


def join(ranks: Sequence[Sequence[StreamMetric]]) -> list[torch.Tensor]:
    """Give the metrics of each rank what all have; the messages of the first."""
    return played([joined(states_of(metrics), rank) for rank, metrics in enumerate(ranks)])
