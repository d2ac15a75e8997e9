import csv
import io
from dataclasses import replace

import pytest
import torch

from lightning_posttrain.label_errors import render
from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.render import events_image, samples_file, suspects_table
from lightning_posttrain.label_errors.result import Events, SampleHistory

NAMES = ("cat", "dog", "owl")


def history(rows=200, wrong=0.2, *, scored=True, names=NAMES):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(len(names), (rows,), generator=generator)
    logits = torch.randn(rows, len(names), generator=generator)
    logits[torch.arange(rows), torch.where(torch.rand(rows, generator=generator) < wrong, 0, label)] += 3
    errors = label_errors(logits.softmax(1), label)
    count = torch.randint(4, (rows,), generator=generator)
    return SampleHistory(
        index=torch.arange(rows) * 3,
        label=label,
        predicted=logits.argmax(1),
        loss=torch.nn.functional.cross_entropy(logits, label, reduction="none"),
        learned=count,
        forgotten=count // 2,
        wrong=count,
        seen=count + 1,
        errors=errors if scored else None,
        class_names=names,
        events=Events(4, 3, 2, 1),
    )


def test_suspects_stand_in_order_with_their_position_in_the_dataset():
    result = history()
    table = suspects_table(result)
    assert table.columns == ("index", "label", "suggested", "score", "loss")
    assert not table.files_only
    assert len(table.rows) == len(result.suspects) < 50
    for row, at in zip(table.rows, result.suspects.tolist(), strict=True):
        label, suggested = int(result.label[at]), int(result.errors.suggested[at])
        assert row[:3] == (3 * at, NAMES[label], NAMES[suggested])
        assert row[3:] == (float(result.errors.score[at]), float(result.loss[at]))
        assert label != suggested
    scores = [row[3] for row in table.rows]
    assert scores == sorted(scores)
    assert max(scores) < 0.5
    assert f"{len(table.rows)} labels are probably wrong" in table.note


def test_fifty_are_shown_and_the_rest_is_said():
    result = history(900)
    table = suspects_table(result)
    assert len(table.rows) == 50
    assert f"{len(result.suspects) - 50} more stand in the table of all samples." in table.note
    assert len(result.to_dict()["suspects"]) == 50


def listed(result):
    """The file of all samples, read as CSV."""
    file = samples_file(result)
    assert file.suffix == ".csv"
    return list(csv.DictReader(io.StringIO(file.content.decode())))


def test_every_sample_stands_in_the_file_the_most_suspicious_first(monkeypatch):
    monkeypatch.setattr(render, "AT_ONCE", 64)
    result = history()
    rows = listed(result)
    assert list(rows[0]) == [
        "index", "label", "predicted", "loss", "learned", "forgotten", "wrong", "seen", "label_error_score", "flagged",
    ]  # fmt: skip
    assert [int(row["index"]) for row in rows] == (3 * result.errors.order).tolist()
    flagged = [int(row["index"]) for row in rows if row["flagged"] == "1"]
    assert flagged == (3 * result.suspects).tolist()
    for row, at in zip(rows, result.errors.order.tolist(), strict=True):
        for name in ("learned", "forgotten", "wrong", "seen"):
            assert int(row[name]) == int(getattr(result, name)[at])
        assert (row["label"], row["predicted"]) == (NAMES[result.label[at]], NAMES[result.predicted[at]])
        assert float(row["loss"]) == float(result.loss[at])
        assert float(row["label_error_score"]) == float(result.errors.score[at])


def test_without_scores_the_largest_loss_comes_first():
    rows = listed(history(scored=False))
    losses = [float(row["loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert {(row["label_error_score"], row["flagged"]) for row in rows} == {("", "")}
    assert suspects_table(history(scored=False)).rows == ()


def test_no_samples_are_no_trouble():
    for scored in (True, False):
        assert samples_file(history(0, scored=scored)).content.startswith(b"index,label,predicted,loss")
        assert listed(history(0, scored=scored)) == []
        assert suspects_table(history(0, scored=scored)).rows == ()


def test_of_one_pass_nothing_is_said_that_takes_two():
    result = replace(history(), events=None)
    assert set(result.scalars()) == {"suspects"}
    assert not {"learned_events", "forgotten_events", "always_wrong", "forgotten_counts"} & set(result.to_dict())
    assert not {"learned", "forgotten"} & set(listed(result)[0])


def test_what_was_left_out_is_said_beside_the_figures():
    said = "follows 1 of 2 samples"
    for result in (history(), history(scored=False), history(30, wrong=0.0)):
        assert replace(result, limits=(said,)).notes[-1] == said


def test_labels_without_a_suspect_are_said_to_have_none():
    result = history(30, wrong=0.0)
    assert suspects_table(result).note.endswith("None of 30 labels is probably wrong.")


EPOCHS = [
    [],
    [Events(0, 0, 0, 7)],
    [Events(0, 0, 0, 0), Events(1, 0, 0, 0)],
    [Events(i, 10**7 // (i + 1), 10**6 // (i + 1), 10**7) for i in range(300)],
]


@pytest.mark.parametrize("events", EPOCHS, ids=["none", "one", "zeros", "many"])
def test_the_picture_is_as_wide_as_all_and_of_one_height(events):
    pixels = events_image(events, title="val · " + "a long name " * 20).pixels
    assert pixels.shape[1:] == (700, 3)
    assert pixels.shape == events_image([]).pixels.shape
    assert pixels.dtype == torch.uint8


def test_the_picture_says_the_counts_of_the_last_epoch(written):
    events_image([Events(0, 0, 0, 90), Events(1, 1234, 8, 60)], title="val")
    said = [text for text, _ in written]
    assert said[0] == "val"
    assert "learned: wrong before, right now; last: 1,234" in said
    assert "forgotten: right before, wrong now; last: 8" in said
    assert "never right so far; last: 60" in said


def test_a_picture_of_nothing_says_so(written):
    events_image([])
    assert "no epoch has ended yet" in [text for text, _ in written]


def test_ticks_of_few_samples_are_whole_numbers(written):
    events_image([Events(0, 0, 0, 1), Events(1, 1, 0, 0)])
    ticks = [text for text, options in written if options.get("anchor") == "rm"]
    assert ticks
    assert all(tick.isdigit() for tick in ticks)
