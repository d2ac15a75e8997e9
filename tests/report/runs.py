"""Folders of runs, written by hand, with the files that a page is made from."""

import csv
import json

import numpy as np
from PIL import Image

HOSTILE = (
    "</script><script>window.pwned=1</script>", '<img src=x onerror="window.pwned=1">', "\u202eevil\u202c", "{{7*7}}",
    "a" * 200, "'; DROP TABLE", "<!--", "&amp;", 'x" onmouseover="window.pwned=1', "<style>*{display:none}</style>",
)  # fmt: skip


def names_of(count, *, hostile=False):
    names = [f"class {number}" for number in range(count)]
    if hostile:
        names[: len(HOSTILE)] = HOSTILE[:count]
    return names


def matrix(count, rows=40, seed=0):
    """Counts in which each class is taken for its neighbour now and then, class 0 most often."""
    drawn = np.random.default_rng(seed)
    counts = np.zeros((count, count), dtype=int)
    for actual in range(count):
        wrong = int(drawn.integers(0, rows // 3)) if actual else rows // 2
        counts[actual, actual] = rows - wrong
        for other in drawn.integers(0, count, size=min(wrong, 3)):
            counts[actual, other] += 1
        counts[actual, (actual + 1) % count] += max(wrong - 3, 0)
    return counts


def write(place, record):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(record), encoding="utf-8")


def run(folder, count=3, *, hostile=False, stage="test", epochs=5):
    """A run of a classifier with all that needs no pictures.

    Args:
        folder: becomes the run's.
        count: classes.
        hostile: whether some names try to be markup.
        stage: that is told.
        epochs: in the history.
    """
    home, names, counts = folder / "posttrain", names_of(count, hostile=hostile), matrix(count)
    support, rows = counts.sum(axis=1), int(counts.sum())
    at = {"epoch": epochs - 1, "step": 100}
    cells = [[int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)]
    write(home / stage / "confusion_matrix.json", {**at, "class_names": names, "cells": cells})
    recall = counts.diagonal() / support
    accuracy = float(counts.diagonal().sum() / rows)
    each = [
        {"class": name, "support": int(n), "precision": 0.5, "recall": float(r), "f1": 0.6, "auroc": 0.9}
        for name, n, r in zip(names, support, recall, strict=True)
    ]
    report = {"accuracy": accuracy, "balanced_accuracy": float(recall.mean()), "log_loss": 0.7, "ece": 0.1}
    intervals = {"accuracy": [accuracy - 0.03, accuracy + 0.03]}
    write(
        home / stage / "classification_report.json",
        {**at, **report, "intervals": intervals, "class_intervals": {}, "per_class": each, "notes": ["exact figures"]},
    )
    write(home / stage / "calibration.json", {**at, **calibration()})
    write(home / stage / "thresholds.json", {**at, **abstention(rows)})
    lines = [
        {"stage": part, "epoch": n, "step": n, "metrics": {"loss": 1 / (n + 1) + (part == "val") / 9, "accuracy": 0.5}}
        for n in range(epochs) for part in ("train", "val")
    ]  # fmt: skip
    (home / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run_json = {
        "kind": "run",
        "module": "Net",
        "seed": 3,
        "versions": {"torch": "2"},
        "remarks": [{"text": "said once"}],
    }
    write(home / "run.json", {**run_json, "stages": {stage: {**at, "rows": rows, "weights": "the last"}}})
    return folder


def calibration():
    bins = {"ece": 0.1, "rows": [0, 3, 40, 90], "confidence": [None, 0.4, 0.6, 0.9], "accuracy": [None, 0.3, 0.5, 0.8]}
    return {
        "before": bins,
        "after": {**bins, "ece": 0.05},
        "words": "temperature 1.50: the network is too sure",
        "notes": [],
    }


def abstention(rows):
    coverage = [n / 300 for n in range(1, 301)]
    risk = [0.4 * share for share in coverage]
    return {"coverage": coverage, "risk": risk, "threshold": [1 - share / 2 for share in coverage], "rows": rows}


def sample(index, names, *, text=None, right=False):
    actual, predicted = names[0], names[0] if right else names[1 % len(names)]
    return {
        "index": index,
        "actual": actual,
        "predicted": predicted,
        "probability": 0.8,
        "loss": 3.0 - index / 100,
        "text": text,
    }


def add_samples(folder, names, *, count=15, size=None, parts=("",), text=None, features=(), stage="test"):
    """Hard examples of a run: pictures of ``size``, each with its ``parts``, or a text, or features."""
    place = folder / "posttrain" / stage
    groups = {
        "highest_loss": [sample(n, names, text=text) for n in range(count)],
        "confident_errors": [sample(n, names, text=text) for n in range(count // 2)],
        "unsure_hits": [sample(100 + n, names, text=text, right=True) for n in range(count)],
    }
    cells = {"pair_01": [sample(n, names, text=text) for n in range(3)]}
    write(place / "hard_examples.json", {"rows": 300, "groups": groups, "cells": cells, "notes": []})
    if size:
        drawn = np.random.default_rng(0)
        for group, chosen in groups.items():
            for rank in range(1, len(chosen) + 1):
                for part in parts:
                    path = place / "hard_examples" / group / f"{rank:02d}{part}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    grain = drawn.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
                    Image.fromarray(grain).resize((size, size)).save(path)
    with (place / "hard_examples.csv").open("w", newline="") as file:
        known = ["group", "rank", "index", "actual", "predicted", "probability", "loss"]
        writer = csv.writer(file)
        writer.writerow([*known, *features])
        for group, chosen in groups.items():
            for rank, one in enumerate(chosen, start=1):
                head = [group, rank, *(one[name] for name in known[2:])]
                writer.writerow([*head, *(0.25 + n for n in range(len(features)))])
    write(
        place / "label_errors.json",
        {
            "suspects": [
                {"index": 0, "label": names[0], "suggested": names[1 % len(names)], "score": 0.02, "loss": 3.0}
            ],
            "notes": [],
        },
    )
    with (place / "predictions.csv").open("w", newline="") as file:
        tops = [f"top_{n}" for n in range(1, 6)] + [f"p_{n}" for n in range(1, 6)]
        writer = csv.writer(file)
        writer.writerow(["index", "actual", "predicted", "probability", "loss", *tops])
        shown = [*names[:5], *[""] * (5 - len(names[:5]))]
        writer.writerow([0, names[0], names[1 % len(names)], 0.8, 3.0, *shown, 0.8, 0.1, 0.05, 0.03, 0.02])
    return folder
