import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.functional.history import HistoryTable
from lightning_posttrain.label_errors.result import Events

SIZE, CLASSES = 23, 3
NAMES = ("cat", "dog", "owl")


class Slow:
    """The same histories in dictionaries, a row at a time."""

    def __init__(self):
        self.rows, self.events, self.epochs = {}, None, 0

    def epoch(self, rows):
        fresh = {row["index"]: row for row in rows if row["counted"]}
        learned = forgotten = 0
        for index, row in fresh.items():
            old = self.rows.setdefault(index, {"learned": 0, "forgotten": 0, "wrong": 0, "seen": 0, "past": []})
            right = row["predicted"] == row["label"]
            if old["seen"]:
                was = old["predicted"] == old["label"]
                old["learned"] += right and not was
                old["forgotten"] += was and not right
                learned += right and not was
                forgotten += was and not right
            old["wrong"] += not right
            old["seen"] += 1
            old["past"].append(row["probabilities"])
            old.update({name: row[name] for name in ("label", "predicted", "loss")})
        always = sum(row["wrong"] == row["seen"] for row in self.rows.values())
        self.events = Events(self.epochs, learned, forgotten, always)
        self.epochs += 1

    def mean(self, index):
        past = self.rows[index]["past"]
        weights = [0.8**age for age in reversed(range(len(past)))]
        total = sum(weights)
        return [sum(w * p[k] for w, p in zip(weights, past, strict=True)) / total for k in range(CLASSES)]


def drawn(generator, count):
    index = torch.randint(SIZE, (count,), generator=generator)
    probabilities = torch.randn(count, CLASSES, generator=generator).softmax(1)
    return {
        "index": index,
        "label": index % CLASSES,
        "predicted": probabilities.argmax(1),
        "loss": torch.rand(count, generator=generator),
        "probabilities": probabilities,
        "counted": torch.rand(count, generator=generator) < 0.8,
    }


def add(table, batch):
    names = ("index", "label", "predicted", "loss", "probabilities", "counted")
    table.add(*(batch[name] for name in names))


def rows_of(batch):
    lists = {name: column.tolist() for name, column in batch.items()}
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]


def some(batch, keep):
    return {name: column[keep] for name, column in batch.items()}


def agrees(table, slow):
    result = table.result(NAMES)
    assert result.index.tolist() == sorted(slow.rows)
    rows = [slow.rows[i] for i in sorted(slow.rows)]
    for name in ("label", "predicted", "learned", "forgotten", "wrong", "seen"):
        found = getattr(result, name)
        assert found.dtype == torch.int64
        assert found.tolist() == [row[name] for row in rows], name
    assert result.loss.tolist() == pytest.approx([row["loss"] for row in rows])
    assert result.events == slow.events
    mean = table.probabilities()
    for index in slow.rows:
        assert mean[index].tolist() == pytest.approx(slow.mean(index), abs=1e-5)


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name, state in first.items():
        assert torch.equal(state, second[name]), name


@given(st.integers(0, 10_000), st.lists(st.lists(st.integers(0, 12), max_size=4), min_size=1, max_size=5))
def test_it_is_the_slow_table_whatever_the_batches(seed, epochs):
    generator = torch.Generator().manual_seed(seed)
    table, slow = HistoryTable(SIZE, CLASSES, keep_probabilities=True), Slow()
    for sizes in epochs:
        rows = []
        for size in sizes:
            batch = drawn(generator, size)
            add(table, batch)
            rows += rows_of(batch)
        table.end_epoch()
        slow.epoch(rows)
    agrees(table, slow)


def test_order_and_split_do_not_matter_where_each_sample_comes_once():
    def fill(order, size):
        table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
        for epoch in range(4):
            batch = drawn(torch.Generator().manual_seed(epoch), SIZE)
            batch |= {"index": torch.arange(SIZE), "label": torch.arange(SIZE) % CLASSES}
            for rows in order.split(size):
                add(table, some(batch, rows))
            table.end_epoch()
        return table

    one = fill(torch.arange(SIZE), SIZE)
    same(one, fill(torch.randperm(SIZE), 4))
    same(one, fill(torch.randperm(SIZE), 1))


def test_a_sample_that_comes_twice_counts_once_as_it_came_last():
    table = HistoryTable(4, 2, keep_probabilities=False)
    one = torch.tensor([1, 1, 3])
    counted = torch.ones(3, dtype=torch.bool)
    table.add(one, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([0.1, 0.2, 0.3]), None, counted)
    table.add(torch.tensor([3]), *torch.tensor([[1], [0]]), torch.tensor([0.4]), None, counted[:1])
    table.end_epoch()
    result = table.result(("a", "b"))
    assert result.index.tolist() == [1, 3]
    assert result.predicted.tolist() == [1, 0]
    assert result.loss.tolist() == pytest.approx([0.2, 0.4])
    assert result.seen.tolist() == result.wrong.tolist() == [1, 1]


def merged(tables):
    """Let tables merge as ranks do, each in a thread that waits for the others at every sum."""
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    world = len(tables)
    barrier, slots = Barrier(world, timeout=20), [None] * world

    def merge(rank):
        def reduce(tensor):
            slots[rank] = tensor
            barrier.wait()
            total = torch.stack(slots).sum(dim=0, dtype=tensor.dtype)
            barrier.wait()
            return tensor.copy_(total)  # as a collective does, in place

        tables[rank].merge_across(reduce, rank=rank, world=world)

    with ThreadPoolExecutor(world) as pool:
        list(pool.map(merge, range(world)))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_with_rows_of_their_own_equal_one_process(world):
    generator = torch.Generator().manual_seed(world)
    one = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    tables = [HistoryTable(SIZE, CLASSES, keep_probabilities=True) for _ in range(world)]
    for _ in range(4):
        batch = drawn(generator, 30)
        add(one, batch)
        for rank, table in enumerate(tables):
            add(table, some(batch, batch["index"] % world == rank))
        merged(tables)
        for table in (one, *tables):
            table.end_epoch()
    for table in tables:
        same(one, table)


def test_a_sample_of_several_ranks_counts_once_as_the_lowest_had_it():
    generator = torch.Generator().manual_seed(0)
    tables, slow = [HistoryTable(SIZE, CLASSES, keep_probabilities=True) for _ in range(3)], Slow()
    for _ in range(3):
        batches = [drawn(generator, 20) for _ in tables]
        for table, batch in zip(tables, batches, strict=True):
            add(table, batch)
        merged(tables)
        for table in tables:
            table.end_epoch()
        slow.epoch([row for batch in reversed(batches) for row in rows_of(batch)])
    for table in tables:
        agrees(table, slow)


def test_losses_that_are_not_finite_stay_with_their_sample_across_ranks():
    tables = [HistoryTable(3, 2, keep_probabilities=False) for _ in range(2)]
    zero, counted = torch.tensor([0]), torch.tensor([True])
    tables[0].add(zero, zero, zero, torch.tensor([torch.inf]), None, counted)
    tables[1].add(zero + 1, zero, zero, torch.tensor([0.5]), None, counted)
    merged(tables)
    for table in tables:
        table.end_epoch()
        assert table.losses()[:2].tolist() == [torch.inf, 0.5]
        assert bool(table.losses()[2].isnan())


def test_a_table_that_is_resumed_equals_one_that_was_not_interrupted():
    batches = [drawn(torch.Generator().manual_seed(epoch), 15) for epoch in range(6)]
    whole = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    for epoch, batch in enumerate(batches):
        add(whole, batch)
        whole.end_epoch()
        if epoch == 2:
            kept = whole.state_dict()
    resumed = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    resumed.load_state_dict(kept)
    for batch in batches[3:]:
        add(resumed, batch)
        resumed.end_epoch()
    same(whole, resumed)
    assert whole.result(NAMES).to_dict() == resumed.result(NAMES).to_dict()


def test_it_goes_on_outside_of_inference_mode_and_in_it():
    with torch.inference_mode():
        table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
        add(table, drawn(torch.Generator().manual_seed(0), 10))
    add(table, drawn(torch.Generator().manual_seed(1), 10))
    table.end_epoch()
    with torch.inference_mode():
        table.end_epoch()
        state = table.state_dict()
    table.load_state_dict(state)


def test_gradients_and_half_precision_are_no_trouble():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    batch = drawn(torch.Generator().manual_seed(0), 10)
    batch["loss"] = batch["loss"].bfloat16().requires_grad_()
    batch["probabilities"] = batch["probabilities"].bfloat16().requires_grad_()
    add(table, batch)
    table.end_epoch()
    assert not table.losses().requires_grad


def test_it_takes_as_many_bytes_as_it_says():
    for keep, each in ((False, 44), (True, 44 + 8 * 10)):
        table = HistoryTable(1000, 10, keep_probabilities=keep)
        states = [*table._kept.values(), *table._fresh.values(), table._turn]
        assert sum(state.numel() * state.element_size() for state in states) // 1000 == each
        assert table.form.all_bytes(10, probabilities=keep) == each


def test_a_position_outside_of_the_dataset_is_said_and_nothing_is_added():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    batch = drawn(torch.Generator().manual_seed(0), 10)
    batch["index"][:2] = torch.tensor([SIZE, -1])
    batch["counted"][:2] = True
    add(table, batch)
    with pytest.raises(ValueError, match="`index` of 2 rows is outside of 0 to 22"):
        table.end_epoch()
    assert len(table.result(NAMES).index) == 0
    table.end_epoch()
    assert table.result(NAMES).events == Events(0, 0, 0, 0)


def test_a_row_that_does_not_count_may_hold_anything():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    batch = drawn(torch.Generator().manual_seed(0), 10)
    batch["counted"][0] = False
    batch["index"][0], batch["label"][0], batch["loss"][0] = 10**6, -100, torch.nan
    batch["probabilities"][0] = torch.nan
    add(table, batch)
    table.end_epoch()
    assert not bool(table.probabilities().isnan().any())


def test_probabilities_that_are_missing_are_said():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    with pytest.raises(ValueError, match=r"`probabilities` is None, wanted \(M, C\)"):
        add(table, drawn(torch.Generator(), 4) | {"probabilities": None})


@pytest.mark.parametrize("other", [(SIZE + 1, CLASSES, True), (SIZE, CLASSES + 1, True), (SIZE, CLASSES, False)])
def test_a_state_of_another_table_is_refused(other):
    state = HistoryTable(*other[:2], keep_probabilities=other[2]).state_dict()
    with pytest.raises(ValueError, match="`state` has the shapes"):
        HistoryTable(SIZE, CLASSES, keep_probabilities=True).load_state_dict(state)


def test_the_result_tells_the_label_errors_of_the_mean_probabilities():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    for seed in range(3):
        add(table, drawn(torch.Generator().manual_seed(seed), 40))
        table.end_epoch()
    result = table.result(NAMES)
    wanted = label_errors(table.probabilities()[result.index], result.label)
    assert torch.equal(result.errors.score, wanted.score)
    flagged = [row for row in wanted.order.tolist() if wanted.flagged[row]]
    assert result.suspects.tolist() == flagged
    assert flagged
    assert result.scalars() == {
        "learned_events": result.events.learned,
        "forgotten_events": result.events.forgotten,
        "always_wrong": int(result.always_wrong.sum()),
        "suspects": len(flagged),
    }
    (note,) = result.notes
    assert note.startswith(f"{len(flagged)} label")
    assert result.alerts == ()
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [each["index"] for each in record["suspects"]] == result.index[flagged].tolist()
    assert record["suspects"][0]["label"] in NAMES
    assert sum(record["forgotten_counts"]) == record["samples"]


def test_without_probabilities_there_are_histories_and_no_suspects():
    table = HistoryTable(SIZE, CLASSES, keep_probabilities=False)
    assert table.result(NAMES).scalars() == {}
    add(table, drawn(torch.Generator().manual_seed(0), 40) | {"probabilities": None})
    table.end_epoch()
    result = table.result(NAMES)
    assert set(result.scalars()) == {"learned_events", "forgotten_events", "always_wrong"}
    assert result.suspects.tolist() == []
    assert result.notes == ()
    json.dumps(result.to_dict(), allow_nan=False)


def test_never_learned_is_wrong_now_and_without_an_epoch_that_learned_it():
    table = HistoryTable(4, 2, keep_probabilities=False)
    label, counted = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    # right (0) and wrong (1) of four samples over three epochs
    for predicted in ([1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]):
        table.add(torch.arange(4), label, torch.tensor(predicted), torch.zeros(4), None, counted)
        table.end_epoch()
    result = table.result(("a", "b"))
    assert result.always_wrong.tolist() == [True, False, False, False]
    assert result.never_learned.tolist() == [True, True, False, False]
    assert result.learned.tolist() == [0, 0, 1, 1]
    assert result.forgotten.tolist() == [0, 1, 1, 0]
    assert result.forgotten_counts.tolist() == [2, 2]
    assert result.events == Events(2, 1, 1, 1)
    assert result.epochs == 3
