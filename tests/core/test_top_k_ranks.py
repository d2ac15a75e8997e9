"""The hardest rows of many ranks, of which only those that win are sent."""

from types import SimpleNamespace

import pytest
import torch

from lightning_posttrain.core.stream import top_k_ranks
from lightning_posttrain.core.stream.packing import packed
from lightning_posttrain.core.stream.top_k import Hardest
from lightning_posttrain.core.stream.top_k_ranks import Offer, hardest_of_all

RANKS, COUNT = 40, 6


def offered(seed, *, known):
    """Rows of a rank, with ties between ranks, and small pictures."""
    generator = torch.Generator().manual_seed(seed)
    rows = int(torch.randint(0, 30, (1,), generator=generator))
    place = torch.randint(10_000, (rows,), generator=generator) if known else None
    columns = {
        "inputs": torch.rand(rows, 3, 8, 8, generator=generator),
        "actual": torch.randint(5, (rows,), generator=generator),
    }
    value = torch.randint(12, (rows,), generator=generator).float()
    return value, place, columns, torch.randint(3, (rows,), generator=generator)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("each", [None, 2])
def test_ranks_keep_what_one_process_keeps_and_receive_no_more_than_that(known, each, monkeypatch):
    batches = [offered(seed, known=known) for seed in range(RANKS)]
    whole = Hardest(COUNT, each)
    for batch in batches:
        whole.offer(*batch)
    mine = []
    for batch in batches:
        own = Hardest(COUNT, each)
        own.offer(*batch)
        mine.append(own.take())
    offers = [{"worst": Offer.of(columns)} for columns in mine]
    sent = []

    def put_together(trainer, parts):
        sent.append([part.clone() for part in parts])
        if len(sent) < RANKS:
            return parts
        return [torch.stack(list(same)).sum(0) for same in zip(*sent, strict=True)]

    monkeypatch.setattr(top_k_ranks, "put_together", put_together)
    for rank in range(RANKS):
        trainer = SimpleNamespace(global_rank=rank)
        found = hardest_of_all(trainer, {"worst": Hardest(COUNT, each)}, {"worst": mine[rank]}, offers)
    wanted = whole.take()
    assert found["worst"].keys() == wanted.keys()
    for name, column in wanted.items():
        assert torch.equal(found["worst"][name], column), name
    assert packed(sent[0]).nbytes == len(wanted["value"]) * (3 * 8 * 8 * 4 + 8)
