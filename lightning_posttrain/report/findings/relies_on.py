"""Whether maps, explanations and trees can be read, and what the model relies on."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from lightning_posttrain.report.findings.evidence import Evidence
from lightning_posttrain.report.findings.finding import FEW, Finding
from lightning_posttrain.report.findings.wording import and_more, percent, quoted, rows_of, within

MAPS = ("faithfulness.csv", "saliency.json")
KNOW_NOTHING = ("random", "edge")
TREE = ("surrogate_tree.csv", "surrogate.json")


def maps(evidence: Evidence) -> Finding | None:
    """Which methods' maps point out what the model goes by no better than a random map does: these are not to be read.

    By insertion: how much of the output comes back while positions are shown, the most important first.
    """
    found = evidence.record("saliency").get("faithfulness") or {}
    scores = {name: one.get("insertion") for name, one in (found.get("methods") or {}).items()}
    chance = scores.pop("random", None)
    known = {name: value for name, value in scores.items() if name not in KNOW_NOTHING and value is not None}
    if chance is None or not known:
        return None
    of = "1 sample" if found["samples"] == 1 else f"{found['samples']} samples"
    poor = [name for name, value in known.items() if value <= chance]
    numbers = {**known, "random": chance, "samples": found["samples"]}
    file = evidence.file(*MAPS)
    if poor:
        said = ", ".join(f"{_titled(name)} ({known[name]:.2f})" for name in poor)
        text = (
            f"Do not read the maps of {said}: a random map ({chance:.2f}) points out what the model goes by as well, "
            f"on {of}."
        )
        return Finding(text, "maps", "warn", "relies-on", file, numbers)
    best = max(known, key=lambda name: known[name])
    text = (
        f"No map is refused: on {of} each points out what the model goes by better than a random map ({chance:.2f}), "
        f"{_titled(best)} best ({known[best]:.2f}). So few samples give no interval."
    )
    return Finding(text, "maps", "info", "relies-on", file, numbers)


def _titled(name: str) -> str:
    return name.replace("_", " ")


def region(evidence: Evidence) -> Finding | None:
    """Whether the maps dwell on a region for what stands in it, as a marker at the border."""
    record = evidence.record("saliency")
    alarms = record.get("alarms") or ()
    if not alarms:
        return None
    count = len(record.get("samples") or ())
    first = str(alarms[0])
    more = f" And {len(alarms) - 1} more such." if len(alarms) > 1 else ""
    text = f"{first[0].upper()}{first[1:]} (median of {count} samples, no interval).{more}"
    return Finding(text, "region", "warn", "relies-on", evidence.file("saliency.png", *MAPS), {"samples": count})


def explanations(evidence: Evidence) -> Finding | None:
    """How many of the explained samples have an explanation that is not to be read."""
    samples = evidence.record("explanations").get("samples") or ()
    if not samples:
        return None
    poor = [one for one in samples if one.get("doubts")]
    unsure = [one for one in samples if (one.get("rule") or {}).get("valid") is False]
    if not poor and not unsure:
        return None
    said = [f"of {len(poor)} an explanation does not fit the model and is marked so"] if poor else []
    said += [f"of {len(unsure)} the rule does not hold surely enough"] if unsure else []
    text = f"Of {len(samples)} explained samples, {', and '.join(said)}: do not read these."
    numbers = {"samples": len(samples), "doubted": len(poor), "unsure": len(unsure)}
    file = evidence.file("explanations.png", "explanations.json")
    return Finding(text, "explanations", "warn", "relies-on", file, numbers)


def surrogate(evidence: Evidence) -> Finding | None:
    """Whether a small tree imitates the model better than its commonest answer does, by the 95 % interval."""
    record = evidence.record("surrogate")
    rows = int(record.get("held_out_rows") or 0)
    if rows < FEW or record.get("fidelity") is None:
        return None
    ends = (record["fidelity_low"], record["fidelity_high"])
    questions = sum(not branch["leaf"] for branch in record["branches"])
    always = f"always saying {quoted(record['majority_class'])} agrees in {percent(record['majority'])}"
    numbers = {"fidelity": record["fidelity"], "low": ends[0], "high": ends[1], "rows": rows}
    file = evidence.file(*TREE)
    if not questions or ends[0] <= record["majority"]:
        text = (
            f"Do not read the tree that imitates the model: {always} of {rows_of(rows)}, and the tree is not shown to "
            f"do better ({within(record['fidelity'], ends)})."
        )
        return Finding(text, "surrogate", "warn", "relies-on", file, numbers)
    asks = "1 question" if questions == 1 else f"{questions} questions"
    text = (
        f"A tree of {asks} gives the model's answer on {rows_of(rows)} that it has not seen in "
        f"{within(record['fidelity'], ends)}; {always}."
    )
    return Finding(text, "surrogate", "info", "relies-on", file, numbers)


def importance(evidence: Evidence) -> Finding | None:
    """Features whose shuffling costs most, by intervals that hold for all features at once."""
    record = evidence.record("surrogate")
    drops, rows = record.get("drops") or (), int(record.get("drop_rows") or 0)
    if rows < FEW or not drops:
        return None
    wider = NormalDist().inv_cdf(1 - 0.025 / len(drops)) / NormalDist().inv_cdf(0.975)
    sure = [(drop, ends) for drop in drops for ends in [_wider(drop, wider)] if ends[0] > 0]
    if not sure:
        text = f"Of no feature is it shown that the model relies on it: {len(drops)} were shuffled, on {rows_of(rows)}."
        return Finding(text, "importance", "info", "relies-on", evidence.file("surrogate_importance.csv"))
    said = [f"{quoted(drop['name'])} by {drop['loss']:.3g} ({low:.2g} to {high:.2g})" for drop, (low, high) in sure]
    text = (
        f"It relies most on these: where their values are shuffled, the loss (log loss) rises, of {and_more(said, 3)}; "
        f"on {rows_of(rows)}, intervals that hold for all {len(drops)} features at once with 95 %."
    )
    numbers = {drop["name"]: low for drop, (low, _) in sure}
    return Finding(text, "importance", "info", "relies-on", evidence.file("surrogate_importance.csv"), numbers)


def _wider(drop: dict[str, Any], times: float) -> tuple[float, float]:
    """The interval of a drop so many times as wide; nothing known where it has none."""
    if drop.get("loss") is None or drop.get("low") is None or drop.get("high") is None:
        return -math.inf, math.inf
    return drop["loss"] - times * (drop["loss"] - drop["low"]), drop["loss"] + times * (drop["high"] - drop["loss"])
