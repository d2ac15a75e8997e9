import torch

from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.result import SampleHistory


def record(probabilities, label):
    rows, zeros = len(label), torch.zeros(len(label), dtype=torch.int64)
    found = label_errors(probabilities, label)
    history = SampleHistory(
        torch.arange(rows), label, probabilities.argmax(1), zeros.float(), zeros, zeros, zeros, zeros + 1, found,
        ("a", "b"), None,
    )  # fmt: skip
    return history.to_dict()


def probabilities(sure, flipped, rows=200):
    label = torch.arange(rows) % 2
    of_label = torch.full((rows,), sure, dtype=torch.float64)
    of_label[:flipped] = 1 - sure
    return torch.stack([torch.where(label == k, of_label, 1 - of_label) for k in (0, 1)], dim=1), label


def test_suspects_are_said_with_what_is_expected_of_them(said):
    found = said(label_errors=record(*probabilities(0.9, 20)))["label_errors"]
    assert found.text.startswith("20 of 200 labels look wrong. Look at them, the first ones first")
    assert "about 18 of these are wrong (95 % interval 15 to 20), and 10 % are false alarms" in found.text


def test_no_suspects_are_said_to_be_none(said):
    found = said(label_errors=record(*probabilities(0.9, 0)))["label_errors"]
    assert found.text == "No label of 200 is suspected to be wrong."


def test_a_history_without_probabilities_says_nothing_of_labels(said):
    assert "label_errors" not in said(label_errors={"totals": {"samples": 100, "suspects": None}})


def test_few_samples_are_not_judged(said):
    assert "label_errors" not in said(label_errors=record(*probabilities(0.9, 4, rows=20)))
