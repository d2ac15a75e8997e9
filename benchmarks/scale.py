"""What the end of an epoch costs one of many ranks: the suite's states of 1,024 ranks, joined in one process.

    python benchmarks/scale.py [--ranks 1024] [--classes 1000 100000]

Each rank counts rows of its own; then all are asked, one after the other, for what they send, which is summed or
gathered as their collectives would. Seconds are those of the first rank, in one thread; bytes are those that a rank
sends in a ring, 2 (R - 1) / R times a sum and once what it tells, and those that it would receive if each rank padded
its rows to the most that one has and sent them to all.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from lightning_posttrain import posttrain_suite
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.loader_part import ClassPart
from lightning_posttrain.classification.metric.histograms import MEMORY, ScoreHistograms
from lightning_posttrain.core.stream import top_k_ranks
from lightning_posttrain.core.stream.exchange import WIDTH, Exchange, Told, joined, states_of
from lightning_posttrain.core.stream.packing import packed
from lightning_posttrain.core.stream.top_k import LARGEST_SIDE, Hardest
from lightning_posttrain.core.stream.top_k_ranks import Offer, hardest_of_all

ROWS = {1000: 16, 100_000: 1}
"""Rows that each rank has read, by the number of classes."""
BASES = 16
"""Matrices of scores, which ranks share but for a number that they add to each row."""
PICTURES = {"highest_loss": 15, "confident_errors": 15, "unsure_hits": 15, "pairs": 30}


class Ranks:
    """Parts of a loader as ranks have read it.

    Args:
        ranks: how many.
        classes: of the task.
    """

    def __init__(self, ranks: int, classes: int) -> None:
        self.ranks, self.classes = ranks, classes
        self.rows = ROWS.get(classes, 64)
        generator = torch.Generator().manual_seed(0)
        self._bases = [3 * torch.randn(self.rows, classes, generator=generator) for _ in range(BASES)]
        self._kinds = [kind for callback in posttrain_suite() for kind in callback.metrics()]

    def part(self, rank: int) -> ClassPart:
        """What a rank has counted."""
        part = ClassPart((self.classes, 0), self._kinds, torch.device("cpu"), labels=False)
        for metric in part.metrics.values():
            if isinstance(metric, ScoreHistograms):
                metric.room = MEMORY // self.ranks
        generator = torch.Generator().manual_seed(rank)
        scores = self._bases[rank % BASES] + torch.randn(self.rows, 1, generator=generator)
        others = torch.randint(self.classes, (self.rows,), generator=generator)
        right = torch.rand(self.rows, generator=generator) < 0.6
        part.add(EvalBatch(scores, torch.where(right, scores.argmax(1), others)))
        part.flush()
        return part


def after(exchange: Exchange[None], answers: Iterable[torch.Tensor]) -> tuple[Any, float]:
    """What a rank sends after these answers, None where it has ended, and the seconds of its last step."""
    sent, begin = next(exchange), time.perf_counter()
    try:
        for answer in answers:
            begin = time.perf_counter()
            sent = exchange.send(answer)
    except StopIteration:
        return None, time.perf_counter() - begin
    return sent, time.perf_counter() - begin


def joined_states(ranks: Ranks) -> dict[str, float]:
    """Join the states of all ranks."""
    answers: list[torch.Tensor] = []
    found = {"messages": 0.0, "sent": 0.0, "padded": 0.0, "joining": 0.0}
    part = ranks.part(0)
    begin = time.perf_counter()
    states = states_of(part.metrics.values())
    found["joining"] = time.perf_counter() - begin
    widths = [state.value.shape[1] for state in states if state.grows]
    while True:
        sent, seconds = after(joined(states_of(part.metrics.values()), 0), answers)
        found["joining"] += seconds
        if sent is None:
            break
        others = (joined(states_of(ranks.part(rank).metrics.values()), rank) for rank in range(1, ranks.ranks))
        told = isinstance(sent, Told)
        mine, total = sent.numbers.clone(), sent.numbers.clone()
        rows = [mine]
        for number, other in enumerate(others):
            if number % 16 == 0:
                gc.collect()  # torchmetrics' metrics hold themselves
            message, _ = after(other, answers)
            rows += [message.numbers.clone()] if told else []
            total += 0 if told else message.numbers
        answers.append(torch.stack(rows) if told else total)
        if told and len(answers) == 1:
            most = answers[0].max(0).values
            found["padded"] = sum(
                ranks.ranks * int(code // WIDTH) * int(code % WIDTH) * width
                for code, width in zip(most, widths, strict=True)
            )
        found["messages"] += 1
        found["sent"] += mine.nbytes * (1.0 if told else 2 * (ranks.ranks - 1) / ranks.ranks)
        part = ranks.part(0)
    part = ranks.part(0)
    after(joined(states_of(part.metrics.values()), 0), answers)
    begin = time.perf_counter()
    results = part.results()
    found["reading"] = time.perf_counter() - begin
    assert len(results) == len(part.metrics)
    return found


def _facts(count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    place = torch.randint(1 << 40, (count,), generator=generator)
    value = torch.rand(count, generator=generator).sort(descending=True).values
    return {"value": value, "place": place, "group": torch.zeros_like(place)}


def _kept(count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    hardest, facts = Hardest(count), _facts(count, generator)
    inputs = torch.zeros(count, 3, LARGEST_SIDE, LARGEST_SIDE)
    hardest.offer(facts["value"], facts["place"], {"inputs": inputs})
    return hardest.take()


def hard_examples(ranks: int) -> dict[str, float]:
    """Join the pictures that ranks keep of the hardest rows."""
    generator = torch.Generator().manual_seed(0)
    mine = {rule: _kept(count, generator) for rule, count in PICTURES.items()}
    first = {rule: Offer.of(columns) for rule, columns in mine.items()}
    told = [first]
    for _ in range(1, ranks):  # ranks tell facts of pictures and not these
        facts = {rule: _facts(count, generator) for rule, count in PICTURES.items()}
        told.append({rule: offer and offer._replace(facts=facts[rule]) for rule, offer in first.items()})
    words = []

    class FirstRank:
        global_rank = 0

    top_k_ranks.put_together = lambda _, parts: words.append(packed(parts)) or parts
    begin = time.perf_counter()
    hardest_of_all(FirstRank(), {rule: Hardest(count) for rule, count in PICTURES.items()}, mine, told)
    joining = time.perf_counter() - begin
    size = len(pickle.dumps(told[0]))
    pictures = sum(column.nbytes for columns in mine.values() for column in columns.values())
    return {
        "messages": 3, "sent": size + 2 * (ranks - 1) / ranks * words[0].nbytes, "padded": ranks * (pictures + 0.0),
        "joining": joining, "reading": 0.0,
    }  # fmt: skip


def line(name: str, found: dict[str, float]) -> str:
    """A line of the table."""
    cells = (
        name, f"{found['messages']:.0f}", f"{found['sent'] / 1e6:.1f}", f"{found['padded'] / 1e6:,.1f}",
        f"{found['joining']:.2f}", f"{found['reading']:.2f}", f"{peak():,.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def peak() -> float:
    """Megabytes that this process took at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--classes", type=int, nargs="+", default=[1000, 100_000])
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{given.ranks:,} ranks; {peak():,.0f} MB before\n")
    print("| | messages | MB sent by a rank | MB received if padded | s to join | s to work out | peak MB |")
    print("|---|---|---|---|---|---|---|")
    print(line("hard examples, 75 pictures", hard_examples(given.ranks)), flush=True)
    for classes in given.classes:
        ranks = Ranks(given.ranks, classes)
        name = f"{classes:,} classes, {given.ranks * ranks.rows:,} rows"
        print(line(name, joined_states(ranks)), flush=True)


if __name__ == "__main__":
    main()
