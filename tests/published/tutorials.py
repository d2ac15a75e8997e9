"""Modules in the form that the packages' own tutorials and examples give them; the networks are handed in."""

from __future__ import annotations

import pytorch_lightning
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score


class GLUETransformer(LightningModule):
    """Lightning's tutorial on text: the loss is within the model, figures wait for the end of the epoch."""

    def __init__(self, model, learning_rate=5e-3):
        super().__init__()
        self.model, self.learning_rate = model, learning_rate
        self.seen = []

    def forward(self, **inputs):
        return self.model(**inputs)

    def training_step(self, batch, batch_idx):
        return self(**batch)[0]

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss, logits = self(**batch)[:2]
        self.seen.append((logits.argmax(-1), batch["labels"]))
        return loss

    test_step = validation_step

    def _figures(self, stage):
        hits = torch.cat([(predicted == labels)[labels != -100].flatten() for predicted, labels in self.seen])
        self.log(f"{stage}_acc", hits.float().mean())
        self.seen.clear()

    def on_validation_epoch_end(self):
        self._figures("val")

    def on_test_epoch_end(self):
        self._figures("test")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


class LabelsTransformer(GLUETransformer):
    """The same with labels that do not exclude each other, or none at all."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss, _ = self(**batch)[:2]
        self.log("val_loss", loss)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        loss, _ = self(**batch)[:2]
        self.log("test_loss", loss)

    def _figures(self, stage):
        """No figure but the loss."""


class NodeLevelGNN(pytorch_lightning.LightningModule):
    """Lightning's tutorial on graphs: ``forward`` gives loss and accuracy of the nodes of a mask."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.loss_module = nn.CrossEntropyLoss()

    def forward(self, data, mode="train"):
        scores = self.model(data.x, data.edge_index)
        mask = {"train": data.train_mask, "val": data.val_mask, "test": data.test_mask}[mode]
        loss = self.loss_module(scores[mask], data.y[mask])
        return loss, (scores[mask].argmax(dim=-1) == data.y[mask]).sum().float() / mask.sum()

    def training_step(self, batch, batch_idx):
        return self.forward(batch, mode="train")[0]

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", self.forward(batch, mode="val")[1], batch_size=1)

    def test_step(self, batch, batch_idx):
        self.log("test_acc", self.forward(batch, mode="test")[1], batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5, momentum=0.9, weight_decay=2e-3)


class GraphLevelGNN(pytorch_lightning.LightningModule):
    """The same tutorial's second: one class a graph, or one logit; ``forward`` casts the batch's own targets."""

    def __init__(self, model, c_out):
        super().__init__()
        self.model, self.c_out = model, c_out
        self.loss_module = nn.BCEWithLogitsLoss() if c_out == 1 else nn.CrossEntropyLoss()

    def forward(self, data, mode="train"):
        scores = self.model(data.x, data.edge_index, data.batch).squeeze(dim=-1)
        if self.c_out == 1:
            predicted = (scores > 0).float()
            data.y = data.y.float()
        else:
            predicted = scores.argmax(dim=-1)
        return self.loss_module(scores, data.y), (predicted == data.y).sum().float() / predicted.shape[0]

    def training_step(self, batch, batch_idx):
        return self.forward(batch, mode="train")[0]

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", self.forward(batch, mode="val")[1], batch_size=batch.num_graphs)

    def test_step(self, batch, batch_idx):
        self.log("test_acc", self.forward(batch, mode="test")[1], batch_size=batch.num_graphs)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class GIN(pytorch_lightning.LightningModule):
    """PyTorch Geometric's example with Lightning: only a metric hears of validation, and of probabilities."""

    def __init__(self, gnn, pool, classifier, classes):
        super().__init__()
        self.gnn, self.pool, self.classifier = gnn, pool, classifier
        self.train_acc, self.val_acc, self.test_acc = (MulticlassAccuracy(classes, average="micro") for _ in range(3))

    def forward(self, x, edge_index, batch):
        return self.classifier(self.pool(self.gnn(x, edge_index), batch))

    def training_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index, data.batch)
        self.train_acc(scores.softmax(dim=-1), data.y)
        return nn.functional.cross_entropy(scores, data.y)

    def validation_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index, data.batch)
        self.val_acc(scores.softmax(dim=-1), data.y)
        self.log("val_acc", self.val_acc, on_step=False, on_epoch=True, batch_size=scores.size(0))

    def test_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index, data.batch)
        self.test_acc(scores.softmax(dim=-1), data.y)
        self.log("test_acc", self.test_acc, on_step=False, on_epoch=True, batch_size=scores.size(0))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class GraphSAGE(GIN):
    """The same examples' third: a batch is of seed nodes, which come first, and of their neighbours."""

    def forward(self, x, edge_index):
        return self.gnn(x, edge_index)

    def training_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index)[: data.batch_size]
        return nn.functional.cross_entropy(scores, data.y[: data.batch_size])

    def validation_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index)[: data.batch_size]
        self.val_acc(scores.softmax(dim=-1), data.y[: data.batch_size])
        self.log("val_acc", self.val_acc, on_step=False, on_epoch=True, batch_size=data.batch_size)

    def test_step(self, data, batch_idx):
        scores = self(data.x, data.edge_index)[: data.batch_size]
        self.test_acc(scores.softmax(dim=-1), data.y[: data.batch_size])
        self.log("test_acc", self.test_acc, on_step=False, on_epoch=True, batch_size=data.batch_size)


class PetModel(LightningModule):
    """Both examples of segmentation_models_pytorch: a Dice loss, which calls none of torch's losses."""

    def __init__(self, model, loss, get_stats, mode, classes):
        super().__init__()
        self.model, self.loss_fn, self.get_stats = model, loss, get_stats
        self.mode, self.classes = mode, classes
        self.seen = []
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))

    def forward(self, image):
        return self.model((image - self.mean) / self.std)

    def shared_step(self, batch):
        image, mask = batch["image"], batch["mask"]
        scores = self.forward(image)
        loss = self.loss_fn(scores, mask)
        if self.mode == "binary":
            stats = self.get_stats((scores.sigmoid() > 0.5).long(), mask.long(), mode="binary")
        else:
            predicted = scores.contiguous().softmax(dim=1).argmax(dim=1)
            stats = self.get_stats(predicted, mask, mode=self.mode, num_classes=self.classes)
        return {"loss": loss, **dict(zip(("tp", "fp", "fn", "tn"), stats, strict=True))}

    def training_step(self, batch, batch_idx):
        return self.shared_step(batch)

    def validation_step(self, batch, batch_idx):
        self.seen.append(self.shared_step(batch))
        return self.seen[-1]

    def test_step(self, batch, batch_idx):
        self.seen.append(self.shared_step(batch))
        return self.seen[-1]

    def _figures(self, stage):
        tp, fp, fn, tn = (torch.cat([one[of] for one in self.seen]).sum() for of in ("tp", "fp", "fn", "tn"))
        of = tp + fn if self.mode == "multiclass" else tp + fp + fn + tn
        self.log(f"{stage}_pixel_accuracy", (tp if self.mode == "multiclass" else tp + tn) / of)
        self.seen.clear()

    def on_validation_epoch_end(self):
        self._figures("valid")

    def on_test_epoch_end(self):
        self._figures("test")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class ImageClassifier(LightningModule):
    """The usual module around a network of timm, with a collection of torchmetrics."""

    def __init__(self, model, classes):
        super().__init__()
        self.model, self.criterion = model, nn.CrossEntropyLoss()
        metrics = MetricCollection(
            {"acc": MulticlassAccuracy(classes, average="micro"), "f1": MulticlassF1Score(classes, average="macro")}
        )
        self.val_metrics, self.test_metrics = metrics.clone("val_"), metrics.clone("test_")

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        self.log("val_loss", self.criterion(scores, y), batch_size=len(y))
        self.log_dict(self.val_metrics(scores, y), batch_size=len(y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        self.log("test_loss", self.criterion(scores, y), batch_size=len(y))
        self.test_metrics.update(scores, y)

    def on_test_epoch_end(self):
        self.log_dict(self.test_metrics.compute())
        self.test_metrics.reset()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class SimCLR(LightningModule):
    """lightly's example: two views of an image shall be near each other; what class it is of is not asked."""

    def __init__(self, backbone, head, criterion):
        super().__init__()
        self.backbone, self.projection_head, self.criterion = backbone, head, criterion

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def training_step(self, batch, batch_idx):
        (first, second), _ = batch
        return self.criterion(self.forward(first), self.forward(second))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.06)
