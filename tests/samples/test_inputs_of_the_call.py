"""What is explained is the call that gave the prediction, with what it was given beside the inputs."""

from collections import UserDict
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, default_collate

from lightning_posttrain import Explanations, HardExamples, SaliencyMaps, posttrain_suite
from tests import toys

WORDS = ["", *["a", "the", "film", "plot", "was", "is", "good", "great", "bad", "awful", "dull", "not"]]


def texts(rows=40, longest=9):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, len(WORDS), (rows, longest), generator=generator)
    length = torch.randint(3, longest + 1, (rows,), generator=generator)
    there = torch.arange(longest) < length[:, None]
    return [
        {"input_ids": row, "attention_mask": mask.long(), "labels": (row % 3).sum() % 2}
        for row, mask in zip(ids, there, strict=True)  # what is masked holds words too: they must not count
    ]


class Reader(nn.Module):
    """Takes its arguments by name, minds the mask, and gives an object, as those of Hugging Face do."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(len(WORDS), 8), nn.Linear(8, 2)

    def forward(self, input_ids, attention_mask, labels=None):
        there = attention_mask[..., None].float()
        logits = self.head((self.words(input_ids) * there).sum(1) / there.sum(1))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits)


class Texts(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = Reader()

    def step(self, batch, stage):
        self.log(f"{stage}_loss", self.model(**batch).loss)

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss


@pytest.mark.parametrize("wrap", [dict, UserDict])
def test_a_classifier_of_texts_with_a_mask_is_explained_with_nothing_said(wrap):
    net = Texts()
    options = {"words": WORDS, "on_error": "raise"}
    saliency, explained = SaliencyMaps(faithfulness=False, **options), Explanations(samples=3, **options)
    hard = HardExamples(**options)
    rows = texts()
    loader = DataLoader(rows, 10, collate_fn=lambda items: wrap(default_collate(items)))
    toys.quiet([saliency, explained, hard]).test(net, loader, verbose=False)
    assert {"integrated_gradients", "occlusion"} <= set(saliency.results["test"].maps)
    batch = default_collate(rows)
    with torch.no_grad():
        chance = net.eval().model(batch["input_ids"], batch["attention_mask"]).logits.softmax(1)
    for sample in explained.results["test"].saliency.samples:
        assert sample.value == pytest.approx(float(chance[sample.index].max()), abs=1e-5)
    # where the mask is 0 a word changes nothing, which it would if the mask did not go along
    maps = saliency.results["test"].maps["occlusion"]
    for row, sample in zip(maps, saliency.results["test"].samples, strict=True):
        assert not row[rows[sample.index]["attention_mask"] == 0].any()
    assert hard.results["test"].groups[0].examples[0].text


@dataclass
class Table:
    continuous: torch.Tensor
    categorical: torch.Tensor
    target: torch.Tensor


class Tabular(toys.Net):
    """Two inputs, one of them whole numbers that are looked up."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(4, 3), nn.Linear(3 + 2 * 3, 3)

    def forward(self, batch):
        return self.head(torch.cat([batch.continuous, self.embedding(batch.categorical).flatten(1)], 1))

    def step(self, batch, stage):
        F.cross_entropy(self(batch), batch.target)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch), batch.target)


def tables(rows=40):
    generator = torch.Generator().manual_seed(0)
    x, c = torch.randn(rows, 3, generator=generator), torch.randint(4, (rows, 2), generator=generator)
    return [(*each,) for each in zip(x, c, (c[:, 0] + (x[:, 0] > 0).long()) % 3, strict=True)]


def test_two_inputs_of_a_table_are_the_columns_of_one():
    net = Tabular()
    names = ["a", "b", "c", "first", "second"]
    explained = Explanations(names=names, categorical=["first", "second"], samples=4, on_error="raise")
    loader = DataLoader(tables(), 10, collate_fn=lambda items: Table(*default_collate(items)))
    toys.quiet(explained).test(net, loader, verbose=False)
    result = explained.results["test"]
    assert set(result.values) >= {"lime", "shap"}
    assert result.values["shap"].shape[1] == 5
    with torch.no_grad():
        chance = net.eval()(Table(*default_collate(tables()))).softmax(1)
    for sample in result.saliency.samples:
        assert sample.value == pytest.approx(float(chance[sample.index].max()), abs=1e-5)


def test_the_suite_runs_on_texts_whose_length_differs_from_batch_to_batch():
    def cut(items):
        batch = default_collate(items)
        longest = int(batch["attention_mask"].sum(1).max())
        return {name: part[:, :longest] if part.ndim == 2 else part for name, part in batch.items()}

    rows = sorted(texts(), key=lambda row: int(row["attention_mask"].sum()))
    callbacks = [*posttrain_suite(words=WORDS, on_error="raise"), Explanations(words=WORDS, on_error="raise")]
    loader = DataLoader(rows, 10, collate_fn=cut)
    trainer = toys.quiet(callbacks)
    trainer.fit(Texts(), loader, loader)
    assert callbacks[1].results["val"].counts.sum() == 40
    assert "several shapes" in " ".join(callbacks[5].results["val"].notes)
