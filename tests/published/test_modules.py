"""Other people's modules, with nothing said: what is heard of their steps gives the figures that they log themselves.

Runs in the environment of `make published`; elsewhere what is not installed is skipped.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning.pytorch
import numpy as np
import pytest
import pytorch_lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, Explanations, posttrain_suite
from lightning_posttrain.ensembles import CheckpointEnsemble
from tests.published import tutorials

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "log_every_n_steps": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeds():
    """Of what draws other numbers than torch's: PyTorch Geometric's made-up graphs."""
    random.seed(0)
    np.random.seed(0)


def published(name: str) -> Any:
    """A package; in its own environment, where it is missing by mistake, its absence is a failure."""
    return import_module(name) if os.environ.get("PUBLISHED") else pytest.importorskip(name)


@dataclass
class Case:
    """A module with its data, and what it is known to mean.

    Args:
        module: somebody else's.
        loaders: of training, validation and test.
        scored: what a batch's log-probabilities or logits and its targets are, by hand, in rows: ``(R, C)`` with
            ``(R,)``, for a binary task ``(R,)`` with ``(R,)``, for labels ``(R, L)`` with ``(R, L)``, where -1 is none.
        task: ``"multiclass"``, ``"binary"`` or ``"multilabel"``.
        own: our name of a figure, and the module's for the same, with ``{}`` for the stage.
        stages: the stage as the module says it.
        epochs: how long it learns, so that it does not give one class alone, which would make every figure easy.
    """

    module: Any
    loaders: tuple[Any, Any, Any]
    scored: Callable[[Any, Any, str], tuple[torch.Tensor, torch.Tensor]]
    task: str = "multiclass"
    own: dict[str, str] = field(default_factory=dict)
    stages: tuple[str, str] = ("val", "test")
    epochs: int = 4


def by_hand(case: Case, loader: Any, stage: str) -> dict[str, Any]:
    """Figures of a loader, row by row."""
    case.module.eval()
    with torch.no_grad():
        pairs = [case.scored(case.module, batch, stage) for batch in loader]
    scores, targets = (torch.cat(part).double().numpy() for part in zip(*pairs, strict=True))
    return {"multiclass": _of_classes, "binary": _of_two, "multilabel": _of_labels}[case.task](scores, targets)


def _of_classes(scores, targets):
    classes = scores.shape[1]
    counts, losses = np.zeros((classes, classes), int), []
    for row, target in zip(scores, targets.astype(int), strict=True):
        counts[target, row.argmax()] += 1
        losses.append(np.logaddexp.reduce(row) - row[target])
    return {"accuracy": counts.trace() / counts.sum(), "log_loss": np.mean(losses), "counts": counts}


def _of_two(scores, targets):
    return _of_classes(np.stack([np.zeros_like(scores), scores], 1), targets)


def _of_labels(scores, targets):
    known = [column >= 0 for column in targets.T]
    each = [_of_two(s[k], t[k]) for s, t, k in zip(scores.T, targets.T, known, strict=True)]
    cells = np.array([k.sum() for k in known])
    wrong = sum(one["counts"].sum() - one["counts"].trace() for one in each)
    return {
        "hamming_loss": wrong / cells.sum(),
        "log_loss": np.mean([one["log_loss"] for one in each]),  # the mean over labels, of each over its known rows
        "counts": np.stack([one["counts"] for one in each]),
    }


def trainer_of(module: Any, callbacks: list[Any], epochs: int = 3) -> Any:
    """A Trainer of the namespace that the module is of."""
    theirs = isinstance(module, pytorch_lightning.LightningModule)
    return (pytorch_lightning if theirs else lightning.pytorch).Trainer(
        max_epochs=epochs, callbacks=callbacks, **QUIET
    )  # fmt: skip


def plain() -> list[Any]:
    return [ClassificationMetrics(curves=False, resamples=0), ConfusionMatrix()]


def assert_heard(case: Case) -> None:
    """Fit, validate, test, and test alone: ours equals the hand's and the module's own."""
    callbacks = plain()
    trainer = trainer_of(case.module, callbacks, case.epochs)
    train, val, test = case.loaders
    trainer.fit(case.module, train, val)
    fitted = dict(callbacks[0].results["val"].overall)
    trainer.validate(case.module, val, verbose=False)
    assert callbacks[0].results["val"].overall == pytest.approx(fitted, abs=1e-6, nan_ok=True)
    assert_agreed(case, callbacks, trainer, "val", val)
    trainer.test(case.module, test, verbose=False)
    assert_agreed(case, callbacks, trainer, "test", test)
    alone = plain()  # of what the steps of other stages taught, nothing is known to these
    trainer = trainer_of(case.module, alone)
    trainer.test(case.module, test, verbose=False)
    assert_agreed(case, alone, trainer, "test", test)


def assert_agreed(case: Case, callbacks: list[Any], trainer: Any, stage: str, loader: Any) -> None:
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    report, confusion = (callback.results[stage] for callback in callbacks[:2])
    hand = by_hand(case, loader, stage)
    assert len(hand["counts"].reshape(-1, hand["counts"].shape[-1]).sum(0).nonzero()[0]) > 1, "it tells nothing apart"
    assert confusion.counts.tolist() == hand.pop("counts").tolist()
    assert {name: report.overall[name] for name in hand} == pytest.approx(hand, rel=1e-4, abs=1e-6)
    said = case.stages[stage == "test"]
    own = {name: logged[theirs.format(said)] for name, theirs in case.own.items()}
    assert {name: report.overall[name] for name in own} == pytest.approx(own, rel=1e-4, abs=1e-6)


def assert_refused(module: Any, loaders: tuple[Any, Any], heard: str) -> None:
    """What is no classification ends in the sanity check, in a sentence that names what was heard."""
    trainer = trainer_of(module, plain())
    with pytest.raises((ValueError, TypeError), match=heard) as refused:
        trainer.fit(module, *loaders)
    assert trainer.global_step == 0
    assert "argmax" not in str(refused.value)
    assert "one-hot" not in str(refused.value)
    assert "multilabel" not in str(refused.value)


def split(data: Any, batch_size: int = 16, collate: Any = None, loader: Any = DataLoader) -> tuple[Any, Any, Any]:
    """Loaders of the first half, the next quarter and the rest; the last batches are smaller than the others."""
    half, rest = len(data) // 2, 3 * len(data) // 4
    options = {"batch_size": batch_size} | ({} if collate is None else {"collate_fn": collate})
    parts = ([data[k] for k in part] for part in (range(half), range(half, rest), range(rest, len(data))))
    return tuple(loader(part, shuffle=number == 0, **options) for number, part in enumerate(parts))


def images(rows: int = 168, classes: int = 3, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures with a bright stripe that is, mostly, where the class says."""
    y = torch.randint(classes, (rows,))
    shown = torch.where(torch.rand(rows) < 0.8, y, torch.randint(classes, (rows,)))
    x = torch.rand(rows, 3, size, size)
    x[torch.arange(rows), :, shown * 8] += 1.5
    return x, y


def scenes(rows: int, classes: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of squares, each of a class, and the mask of these; some squares look like those of another class."""
    y = torch.randint(classes, (rows, size // 8, size // 8))
    shown = torch.where(torch.rand(y.shape) < 0.85, y, torch.randint(classes, y.shape))
    y, shown = (grid.repeat_interleave(8, 1).repeat_interleave(8, 2) for grid in (y, shown))
    return torch.rand(rows, 3, size, size) + 1.5 * shown[:, None], y


def rows_of(scores: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``(N, C, ...)`` and ``(N, ...)`` as rows."""
    return scores.movedim(1, -1).flatten(0, -2), targets.flatten()


# transformers: Lightning's tutorial on GLUE


def texts(rows: int = 200, classes: int = 3) -> list[tuple[torch.Tensor, int]]:
    lengths, classes_of = torch.randint(4, 12, (rows,)), torch.randint(classes, (rows,))
    return [
        (torch.cat([torch.randint(10, 60, (int(n),)), torch.full((2,), 5 + int(y))]), int(y))
        for n, y in zip(lengths, classes_of, strict=True)
    ]


def padded(samples, label_of=lambda ids, y: torch.tensor(y), pad_label=-100):
    """A batch as transformers' collators with padding give it: as long as its longest."""
    pad = nn.utils.rnn.pad_sequence
    ids = pad([one for one, _ in samples], batch_first=True)
    labels = [label_of(one, y) for one, y in samples]
    return {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": (ids != 0).long(),
        "labels": pad(labels, batch_first=True, padding_value=pad_label) if labels[0].ndim else torch.stack(labels),
    }


def bert(head: str, **options: Any) -> Any:
    transformers = published("transformers")
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, **options,
    )  # fmt: skip
    return getattr(transformers, head)(config)


def text_classifier() -> Case:
    return Case(
        tutorials.GLUETransformer(bert("BertForSequenceClassification", num_labels=3)),
        split(texts(), collate=padded),
        lambda module, batch, stage: (module(**batch).logits, batch["labels"]),
        own={"accuracy": "{}_acc"},
    )


def test_transformers_text_classifier():
    assert_heard(text_classifier())


def test_transformers_image_classifier():
    transformers = published("transformers")
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        num_labels=3, initializer_range=0.2,
    )  # fmt: skip
    module = tutorials.GLUETransformer(transformers.ViTForImageClassification(config), 1e-3)
    data = [{"pixel_values": x, "labels": y} for x, y in zip(*images(), strict=True)]

    def scored(module, batch, stage):
        return module(**batch).logits, batch["labels"]

    assert_heard(Case(module, split(data), scored, own={"accuracy": "{}_acc"}, epochs=20))


def test_transformers_several_labels():
    module = tutorials.LabelsTransformer(
        bert("BertForSequenceClassification", num_labels=4, problem_type="multi_label_classification")
    )
    loaders = split(
        texts(classes=4),
        collate=lambda samples: padded(samples, lambda ids, y: torch.tensor([y == 0, y > 1, y == 3, y < 2]).float()),
    )

    def scored(module, batch, stage):
        return module(**batch).logits, batch["labels"]

    assert_heard(Case(module, loaders, scored, "multilabel"))


def test_transformers_classes_of_tokens():
    module = tutorials.GLUETransformer(bert("BertForTokenClassification", num_labels=3))
    loaders = split(texts(), collate=lambda samples: padded(samples, lambda ids, y: ids % 3))

    def scored(module, batch, stage):
        scores, labels = rows_of(module(**batch).logits.transpose(1, 2), batch["labels"])
        return scores[labels != -100], labels[labels != -100]

    assert_heard(Case(module, loaders, scored, own={"accuracy": "{}_acc"}))


def test_transformers_regression_is_refused():
    module = tutorials.LabelsTransformer(bert("BertForSequenceClassification", num_labels=1))
    loaders = split(texts(), collate=lambda samples: padded(samples, lambda ids, y: torch.tensor(y / 7 + len(ids))))
    assert_refused(module, loaders[:2], "mse_loss")


# PyTorch Geometric: Lightning's tutorial on graphs, and the package's own examples


def graphs(**options: Any) -> Any:
    datasets = published("torch_geometric.datasets")
    return datasets.FakeDataset(avg_num_nodes=20, avg_degree=4, num_channels=8, num_classes=3, **options)


def gnn(**options: Any) -> Any:
    return published("torch_geometric.nn").GCN(8, 16, 2, 3, **options)


class Pooled(nn.Module):
    """A network of nodes whose mean over each graph goes to a linear layer."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        nets = published("torch_geometric.nn")
        self.net, self.pool, self.head = nets.GCN(8, 16, 2), nets.global_mean_pool, nn.Linear(16, outputs)

    def forward(self, x, edge_index, batch):
        return self.head(self.pool(self.net(x, edge_index), batch))


def test_pyg_nodes_of_a_mask():
    published("torch_geometric")
    data = published("torch_geometric.datasets").FakeDataset(
        num_graphs=1, avg_num_nodes=120, avg_degree=4, num_channels=8, num_classes=3, task="node"
    )[0]
    part = torch.rand(data.num_nodes)
    data.x = data.x + nn.functional.one_hot(data.y, 8) * (part > 0.15)[:, None]
    data.train_mask, data.val_mask, data.test_mask = part < 0.3, (part > 0.3) & (part < 0.7), part > 0.7
    loader = published("torch_geometric.loader").DataLoader([data], batch_size=1)

    def scored(module, batch, stage):
        mask = batch[f"{stage}_mask"]
        return module.model(batch.x, batch.edge_index)[mask], batch.y[mask]

    module = tutorials.NodeLevelGNN(gnn())
    assert_heard(Case(module, (loader,) * 3, scored, own={"accuracy": "{}_acc"}, epochs=20))


@pytest.mark.parametrize("c_out", [3, 1])
def test_pyg_classes_of_graphs(c_out):
    loader = published("torch_geometric.loader").DataLoader
    data = [one.clone() for one in graphs(num_graphs=160, task="graph")]
    for one in data:
        one.y = (one.y > 0).long() if c_out == 1 else one.y
    module = tutorials.GraphLevelGNN(Pooled(c_out), c_out)

    def scored(module, batch, stage):
        return module.model(batch.x, batch.edge_index, batch.batch).squeeze(-1), batch.y

    task = "binary" if c_out == 1 else "multiclass"
    assert_heard(Case(module, split(data, loader=loader), scored, task, {"accuracy": "{}_acc"}))


def test_pyg_metric_alone_hears_of_validation():
    nets, loader = published("torch_geometric.nn"), published("torch_geometric.loader").DataLoader
    module = tutorials.GIN(
        nets.GIN(8, 16, 2), nets.global_add_pool, nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 3)), 3
    )

    def scored(module, batch, stage):
        return module(batch.x, batch.edge_index, batch.batch), batch.y

    data = [one.clone() for one in graphs(num_graphs=160, task="graph")]
    assert_heard(Case(module, split(data, loader=loader), scored, own={"accuracy": "{}_acc"}))


def test_pyg_seeds_come_first_in_a_batch():
    published("torch_geometric")
    nets = published("torch_geometric.nn")
    batches = []
    for number in range(12):
        data = graphs(num_graphs=1, task="node")[0]
        data.batch_size = 6 if number % 4 else 5  # as NeighborLoader says it
        batches.append(data)
    loaders = tuple(DataLoader(part, batch_size=None) for part in (batches[:4], batches[4:8], batches[8:]))

    def scored(module, batch, stage):
        return module(batch.x, batch.edge_index)[: batch.batch_size], batch.y[: batch.batch_size]

    module = tutorials.GraphSAGE(nets.GraphSAGE(8, 16, 2, 3), None, None, 3)
    assert_heard(Case(module, loaders, scored, own={"accuracy": "{}_acc"}))


# chemprop: message passing over molecules


def molecules(rows: int = 240) -> list[tuple[str, int]]:
    ends, found = ["O", "N", "C(=O)O"], []
    for number in range(rows):
        kind = number % 3
        shown = kind if torch.rand(()) < 0.85 else int(torch.randint(3, ()))
        found.append(("C" * (1 + number // 3 % 9) + ["", "C(C)", "C=C", "c1ccccc1"][number % 4] + ends[shown], kind))
    return [found[k] for k in torch.randperm(rows)]


def mpnn(predictor: Any, metrics: list[Any], target_of: Callable[[int], list[float]]) -> tuple[Any, Any]:
    data, models, nets = published("chemprop.data"), published("chemprop.models"), published("chemprop.nn")
    module = models.MPNN(
        nets.BondMessagePassing(d_h=32, depth=2), nets.MeanAggregation(), predictor, True, metrics, init_lr=1e-2,
        max_lr=2e-2, final_lr=1e-2,
    )  # fmt: skip
    points = [data.MoleculeDatapoint.from_smi(smiles, np.array(target_of(y), np.float32)) for smiles, y in molecules()]
    parts = (points[:200], points[200:222], points[222:])
    loaders = tuple(
        data.build_dataloader(data.MoleculeDataset(part), 16, num_workers=0, shuffle=not number)
        for number, part in enumerate(parts)
    )
    return module, loaders


def test_chemprop_classes():
    nets = published("chemprop.nn")
    predictor = nets.MulticlassClassificationFFN(3, input_dim=32, hidden_dim=32)
    module, loaders = mpnn(predictor, [nets.MulticlassMCCMetric()], lambda y: [y])

    def scored(module, batch, stage):
        return module(*batch[:3])[:, 0].log(), batch.Y[:, 0]  # probabilities (N, tasks, C)

    assert_heard(Case(module, loaders, scored))


def test_chemprop_two_classes():
    metrics, nets = published("chemprop.nn.metrics"), published("chemprop.nn")
    predictor = nets.BinaryClassificationFFN(input_dim=32, hidden_dim=32)
    module, loaders = mpnn(predictor, [metrics.BinaryAccuracy(), metrics.BinaryF1Score()], lambda y: [y > 1])

    def scored(module, batch, stage):
        return module(*batch[:3])[:, 0].logit(), batch.Y[:, 0]

    own = {"accuracy": "{}/accuracy", "f1": "{}/f1"}
    assert_heard(Case(module, loaders, scored, "binary", own))


def test_chemprop_several_tasks_of_which_some_are_not_known():
    metrics, nets = published("chemprop.nn.metrics"), published("chemprop.nn")
    predictor = nets.BinaryClassificationFFN(n_tasks=3, input_dim=32, hidden_dim=32)
    none = float("nan")
    module, loaders = mpnn(
        predictor, [metrics.BinaryAccuracy()],
        lambda y: [y > 1, none if torch.rand(()) < 0.3 else y > 0, y == 0],
    )  # fmt: skip

    def scored(module, batch, stage):
        return module(*batch[:3]).logit(), batch.Y.nan_to_num(-1)

    assert_heard(Case(module, loaders, scored, "multilabel"))


def test_chemprop_regression_is_refused():
    nets = published("chemprop.nn")
    module, loaders = mpnn(nets.RegressionFFN(input_dim=32, hidden_dim=32), [nets.metrics.MAE()], lambda y: [y * 0.7])
    assert_refused(module, loaders[:2], "MAE|MSE|mse_loss")


# pytorch-tabular


def table(rows: int = 200, classes: int = 3) -> Any:
    frame = published("pandas").DataFrame(np.random.default_rng(0).normal(size=(rows, 4)), columns=[*"abcd"])
    frame["city"] = np.where(frame.a + frame.b > 0, "Ulm", "Bonn")
    frame["kind"] = np.digitize(frame.a + frame.c * 0.5 + frame.d * 0.5, [-0.5, 0.5][: classes - 1])
    return frame


def tabular(classes: int = 3, task: str = "classification") -> tuple[Any, Any]:
    config, package = published("pytorch_tabular.config"), published("pytorch_tabular")
    models = published("pytorch_tabular.models")
    model = package.TabularModel(
        data_config=config.DataConfig(
            target=["kind"] if task == "classification" else ["d"], continuous_cols=[*"abc"], categorical_cols=["city"]
        ),
        model_config=models.CategoryEmbeddingModelConfig(task=task, layers="32-16", learning_rate=1e-2),
        optimizer_config=config.OptimizerConfig(),
        trainer_config=config.TrainerConfig(
            batch_size=16, max_epochs=3, accelerator="cpu", early_stopping=None, checkpoints=None, load_best=False,
            progress_bar="none",
        ),
        verbose=False,
    )  # fmt: skip
    return model, table(classes=classes)


def fitted_tabular(callbacks: list[Any], classes: int = 3) -> tuple[Any, Any, Any]:
    """As the package's users fit it: callbacks are handed to ``fit``."""
    model, frame = tabular(classes)
    model.fit(frame[:100], frame[100:150], callbacks=callbacks)
    return model, model.datamodule.val_dataloader(), model.datamodule.prepare_inference_dataloader(frame[150:])


@pytest.mark.parametrize("classes", [3, 2])
def test_tabular_classes(classes):
    callbacks = plain()
    model, val, test = fitted_tabular(callbacks, classes)
    case = Case(
        model.model, (None, val, test),
        lambda module, batch, stage: (module(batch)["logits"], batch["target"][:, 0]),
        own={"accuracy": "{}_accuracy", "log_loss": "{}_loss"}, stages=("valid", "test"),
    )  # fmt: skip
    model.trainer.validate(model.model, val, verbose=False)
    assert_agreed(case, callbacks, model.trainer, "val", val)
    model.trainer.test(model.model, test, verbose=False)
    assert_agreed(case, callbacks, model.trainer, "test", test)


def test_tabular_regression_is_refused():
    model, frame = tabular(task="regression")
    datamodule = model.prepare_dataloader(frame[:100], frame[100:150])
    module = model.prepare_model(datamodule)
    loaders = datamodule.train_dataloader(), datamodule.val_dataloader()
    assert_refused(module, loaders, "mse_loss|mean_squared_error")


# torch-uncertainty: routines around a network


def routine(name: str, model: Any, **options: Any) -> Any:
    package = published("torch_uncertainty.routines")
    return getattr(package, name)(model, optim_recipe=torch.optim.Adam(model.parameters(), lr=1e-3), **options)


def small_cnn(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, outputs))


UNCERTAINTY = {"accuracy": "{}/cls/Acc", "log_loss": "{}/cls/NLL", "brier": "{}/cls/Brier"}


def test_uncertainty_classes():
    module = routine("ClassificationRoutine", small_cnn(3), num_classes=3, loss=nn.CrossEntropyLoss())
    loaders = split(TensorDataset(*images()))

    def scored(module, batch, stage):
        return module.model(batch[0]), batch[1]

    assert_heard(Case(module, loaders, scored, own=UNCERTAINTY))


def test_uncertainty_one_score_a_row():
    module = routine("ClassificationRoutine", small_cnn(1), num_classes=1, loss=nn.BCEWithLogitsLoss())
    loaders = split(TensorDataset(*images(classes=2)))

    def scored(module, batch, stage):
        return module.model(batch[0])[:, 0], batch[1]

    assert_heard(Case(module, loaders, scored, "binary", {"accuracy": "{}/cls/Acc"}))


class Ensemble(nn.Module):
    """Two networks, whose scores stand below each other."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([small_cnn(3), small_cnn(3)])

    def forward(self, x):
        return torch.cat([member(x) for member in self.members])


def test_uncertainty_ensemble_is_judged_by_its_mean():
    published("torch_uncertainty")
    repeat = published("torch_uncertainty.transforms").RepeatTarget(2)
    module = routine(
        "ClassificationRoutine", Ensemble(), num_classes=3, loss=nn.CrossEntropyLoss(), is_ensemble=True,
        format_batch_fn=repeat,
    )  # fmt: skip

    def scored(module, batch, stage):
        return module.model(batch[0]).softmax(1).unflatten(0, (2, -1)).mean(0).log(), batch[1]

    assert_heard(Case(module, split(TensorDataset(*images())), scored, own=UNCERTAINTY))


def test_uncertainty_segmentation_with_void_pixels():
    module = routine(
        "SegmentationRoutine", nn.Conv2d(3, 3, 1), num_classes=3, loss=nn.CrossEntropyLoss(ignore_index=255)
    )
    x, y = scenes(40, 3, size=24)
    y[:, :4] = 255
    tv = published("torchvision.tv_tensors")
    data = [(tv.Image(image), tv.Mask(mask)) for image, mask in zip(x, y, strict=True)]

    def scored(module, batch, stage):
        scores, target = rows_of(module.model(batch[0]), batch[1])
        return scores[target != 255], target[target != 255]

    assert_heard(Case(module, split(data), scored, own={"accuracy": "{}/seg/pixAcc"}))


def test_uncertainty_regression_is_refused():
    module = routine("RegressionRoutine", small_cnn(1), output_dim=1, loss=nn.MSELoss())
    x, y = images()
    loaders = split(TensorDataset(x, y.float() / 3))
    assert_refused(module, loaders[:2], "MeanSquaredError|MeanAbsoluteError|mse_loss")


# timm, and what stands on it


def image_classifier() -> Case:
    model = published("timm").create_model("test_convnext", pretrained=False, num_classes=3)
    loaders = split(TensorDataset(*images()))

    def scored(module, batch, stage):
        return module.model(batch[0]), batch[1]

    own = {"accuracy": "{}_acc", "log_loss": "{}_loss"}
    return Case(tutorials.ImageClassifier(model, 3), loaders, scored, own=own)


def test_timm_in_the_usual_module():
    assert_heard(image_classifier())


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_smp_dice_loss(mode):
    package = published("segmentation_models_pytorch")
    classes = 1 if mode == "binary" else 3
    net = package.create_model(
        "unet", encoder_name="resnet18", encoder_weights=None, in_channels=3, classes=classes, encoder_depth=3,
        decoder_channels=(32, 16, 8),
    )  # fmt: skip
    loss = package.losses.DiceLoss(mode, from_logits=True)
    module = tutorials.PetModel(net, loss, package.metrics.get_stats, mode, classes)
    x, y = scenes(64, 2 if mode == "binary" else 3)
    y = y[:, None].float() if mode == "binary" else y
    loaders = split([{"image": image, "mask": mask} for image, mask in zip(x, y, strict=True)], 8)

    def scored(module, batch, stage):
        scores, target = rows_of(module(batch["image"]), batch["mask"])
        return (scores[:, 0], target) if mode == "binary" else (scores, target)

    own = {"accuracy": "{}_pixel_accuracy"}
    assert_heard(Case(module, loaders, scored, mode, own, ("valid", "test"), epochs=8))


# torchgeo's tasks


GEO_TARGETS = {
    "multiclass": lambda y: y,
    "binary": lambda y: (y > 0).long(),
    "multilabel": lambda y: torch.stack([y == 0, y > 0, y == 2], 1).long(),
}


def geo_classifier(task: str = "multilabel", loss: str = "bce") -> Case:
    trainers = published("torchgeo.trainers")
    counts = {"multiclass": {"num_classes": 3}, "binary": {}, "multilabel": {"num_labels": 3}}[task]
    module = trainers.ClassificationTask(model="test_convnext", task=task, loss=loss, **counts)
    x, y = images()
    data = [{"image": image, "label": label} for image, label in zip(x, GEO_TARGETS[task](y), strict=True)]

    def scored(module, batch, stage):
        return module(batch["image"]).squeeze(1), batch["label"]

    own = {} if task == "multilabel" else {"accuracy": "{}_OverallAccuracy"}
    own |= {"log_loss": "{}_loss"} if loss != "focal" else {}
    return Case(module, split(data), scored, task, own, epochs=8)


@pytest.mark.parametrize(
    ("task", "loss"),
    [("multiclass", "ce"), ("multiclass", "focal"), ("binary", "bce"), ("multilabel", "bce"), ("multilabel", "focal")],
)
def test_torchgeo_classification(task, loss):
    assert_heard(geo_classifier(task, loss))


def geo_segmentation(task: str = "multiclass", loss: str = "ce", void: int | None = 0) -> Case:
    trainers = published("torchgeo.trainers")
    counts = {"num_classes": 1} if task == "binary" else {"num_classes": 3}
    module = trainers.SemanticSegmentationTask(
        model="fcn", num_filters=8, task=task, loss=loss, ignore_index=void, lr=1e-2, **counts
    )  # fmt: skip
    x, y = scenes(60, 2 if task == "binary" else 3, size=24)
    if void == 255:
        y[:, :4] = 255
    data = [{"image": image, "mask": mask} for image, mask in zip(x, y, strict=True)]

    def scored(module, batch, stage):
        scores, target = rows_of(module(batch["image"]), batch["mask"])
        kept = target != (-1 if void is None else void)
        return (scores[:, 0] if task == "binary" else scores)[kept], target[kept]

    own = {"accuracy": "{}_BinaryAccuracy" if task == "binary" else "{}_MulticlassAccuracy"}
    own |= {"log_loss": "{}_loss"} if loss in ("ce", "bce") and void is None else {}
    return Case(module, split(data), scored, task, own, epochs=12)


@pytest.mark.parametrize(
    ("task", "loss", "void"),
    [
        ("multiclass", "ce", None), ("multiclass", "ce", 0), ("multiclass", "ce", 255), ("multiclass", "jaccard", None),
        ("binary", "bce", None), ("binary", "focal", None),
    ],
)  # fmt: skip
def test_torchgeo_segmentation(task, loss, void):
    assert_heard(geo_segmentation(task, loss, void))


def test_torchgeo_regression_is_refused():
    trainers = published("torchgeo.trainers")
    x, y = images()
    data = [{"image": image, "label": label} for image, label in zip(x, y[:, None] / 3, strict=True)]
    module = trainers.RegressionTask(model="test_convnext", num_outputs=1)
    assert_refused(module, split(data)[:2], "mse_loss|MeanSquaredError|MeanAbsoluteError")


def test_torchgeo_detection_is_refused():
    trainers = published("torchgeo.trainers")
    published("pycocotools")
    module = trainers.ObjectDetectionTask(model="fcos", backbone="resnet18", num_classes=3)
    box = torch.tensor([[4.0, 4.0, 20.0, 20.0]])
    data = [{"image": torch.rand(3, 64, 64), "bbox_xyxy": box, "label": torch.tensor([1])} for _ in range(8)]

    def collate(samples):
        batch = {key: [one[key] for one in samples] for key in samples[0]}
        return batch | {"image": torch.stack(batch["image"])}

    loader = DataLoader(data, batch_size=4, collate_fn=collate)
    assert_refused(module, (loader, loader), "MeanAveragePrecision")


# lightly


def test_lightly_linear_classifier():
    classifiers = published("lightly.utils.benchmarking")
    backbone = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten())

    class LinearClassifier(classifiers.LinearClassifier):  # it has no test of its own
        def test_step(self, batch, batch_idx):
            self.validation_step(batch, batch_idx)

    module = LinearClassifier(backbone, 16, feature_dim=8 * 49, num_classes=6, topk=(1, 5))
    x, y = images()
    data = [(image, label, f"{number}.png") for number, (image, label) in enumerate(zip(x, y * 2, strict=True))]

    def scored(module, batch, stage):
        return module(batch[0]), batch[1]

    case = Case(module, split(data), scored, own={"accuracy": "{}_top1", "log_loss": "{}_loss"}, stages=("val", "val"))
    assert_heard(case)


def test_lightly_contrast_is_refused():
    losses, heads = published("lightly.loss"), published("lightly.models.modules.heads")
    backbone = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten())
    module = tutorials.SimCLR(backbone, heads.SimCLRProjectionHead(8 * 49, 32, 16), losses.NTXentLoss())
    x, y = images()
    data = [((image, image.flip(-1)), label) for image, label in zip(x, y, strict=True)]
    assert_refused(module, split(data)[:2], "cross_entropy")


# pytorch-forecasting


def test_forecasting_is_refused():
    package, frame = published("pytorch_forecasting"), published("pandas").DataFrame()
    frame["time"] = np.tile(np.arange(40), 4)
    frame["series"] = np.repeat([*"abcd"], 40)
    frame["value"] = np.sin(np.arange(160) / 5) + np.random.default_rng(0).normal(size=160) * 0.1
    data = package.TimeSeriesDataSet(
        frame, time_idx="time", target="value", group_ids=["series"], max_encoder_length=12, max_prediction_length=4,
        time_varying_unknown_reals=["value"],
    )  # fmt: skip
    loss = package.metrics.QuantileLoss()
    module = package.TemporalFusionTransformer.from_dataset(
        data, hidden_size=8, attention_head_size=1, hidden_continuous_size=8, loss=loss, output_size=7
    )
    loader = data.to_dataloader(batch_size=16, num_workers=0)
    assert_refused(module, (loader, loader), "QuantileLoss|SMAPE|MAE|RMSE")


# all that is drawn


def shown_text(callbacks):
    case = text_classifier()
    trainer = trainer_of(case.module, callbacks)
    trainer.fit(case.module, *case.loaders[:2])
    trainer.test(case.module, case.loaders[2], verbose=False)


def shown_table(callbacks):
    model, _, test = fitted_tabular(callbacks)
    model.trainer.test(model.model, test, verbose=False)


@pytest.mark.parametrize("fit", [shown_text, shown_table])
def test_the_suite_runs_with_nothing_said(fit):
    callbacks = posttrain_suite()
    fit(callbacks)
    assert all("test" in callback.results for callback in callbacks[:4])


@pytest.mark.parametrize("made", [text_classifier, image_classifier, geo_classifier, geo_segmentation])
def test_checkpoints_are_combined_with_nothing_said(made, tmp_path):
    case = made()
    theirs = isinstance(case.module, pytorch_lightning.LightningModule)
    callbacks = pytorch_lightning.callbacks if theirs else lightning.pytorch.callbacks
    ensemble = CheckpointEnsemble(on_error="raise")
    kept = callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1)
    options = {**QUIET, "enable_checkpointing": True, "default_root_dir": tmp_path}
    trainer = (pytorch_lightning if theirs else lightning.pytorch).Trainer(
        max_epochs=3, callbacks=[ensemble, kept], **options
    )
    trainer.fit(case.module, *case.loaders[:2])
    trainer.test(case.module, case.loaders[2], verbose=False)
    assert len(ensemble.fit.members) == 3
    for place, member in enumerate(ensemble.fit.members):
        state = torch.load(Path(ensemble.fit.folder, member.file), weights_only=False)["state_dict"]
        case.module.load_state_dict(state)
        for loader, stage in zip(case.loaders[1:], ("val", "test"), strict=True):
            hand = by_hand(case, loader, stage)["log_loss"]
            assert ensemble.results[stage].members[place].log_loss == pytest.approx(hand, rel=1e-4)


@pytest.mark.parametrize("fit", [shown_text, shown_table])
def test_explanations_run_with_nothing_said(fit):
    fit([Explanations()])
