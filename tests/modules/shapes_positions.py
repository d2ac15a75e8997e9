"""Classes of pixels and of tokens."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tests.modules.shapes import CLASSES, ROWS, Module, generator, load, noisy, shape


def images(stage):
    x = torch.randn(ROWS[stage] // 3, 2, 4, 5, generator=generator(stage))
    return x, x.flatten(2).transpose(1, 2).flatten(0, 1)


def masks(stage, classes=CLASSES):
    x, pixels = images(stage)
    pixels = torch.cat([pixels, torch.zeros(len(pixels), 1)], dim=1)
    return x, noisy(pixels, stage, classes).view(len(x), 4, 5)


def segmented(stage):
    return load(masks(stage), size=6)


class Segmentation(Module):
    def __init__(self, classes=CLASSES):
        super().__init__(nn.Conv2d(2, classes, 1))

    def by_hand(self, batch, stage):
        x, y = batch
        pixels = x.permute(0, 2, 3, 1).reshape(-1, 2)
        return pixels @ self.net.weight[:, :, 0, 0].T + self.net.bias, y.flatten()


@shape("classes of pixels", segmented)
class Pixels(Segmentation):
    pass


def with_border(stage):
    x, y = masks(stage)
    y[:, 0] = 255
    return load((x, y), size=6)


@shape("pixels of 255, which the loss module ignores", with_border)
class Border(Segmentation):
    def __init__(self):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss(ignore_index=255)

    def loss(self, batch, stage):
        return self.criterion(self(batch[0]), batch[1])

    def by_hand(self, batch, stage):
        scores, target = super().by_hand(batch, stage)
        return scores[target < CLASSES], target[target < CLASSES]


@shape("a Dice loss of one's own over pixels", segmented)
class Dice(Segmentation):
    def loss(self, batch, stage):
        p, y = self(batch[0]).softmax(1), F.one_hot(batch[1], CLASSES).movedim(-1, 1)
        return 1 - (2 * (p * y).sum((0, 2, 3)) / (p + y).sum((0, 2, 3))).mean()


def float_masks(stage):
    x, y = masks(stage, classes=2)
    return load((x, y[:, None].float()), size=6)


class Mask(Segmentation):
    def __init__(self):
        super().__init__(classes=1)

    def by_hand(self, batch, stage):
        scores, target = super().by_hand(batch, stage)
        return scores[:, 0], target.long()


@shape("a mask of pixels in a channel", float_masks, task="binary")
class ChannelMask(Mask):
    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])


@shape("a mask of pixels without a channel", float_masks, task="binary")
class FlatMask(Mask):
    def loss(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]).squeeze(1), batch[1].squeeze(1))


WORDS = 7


def sentences(stage, length=5):
    """Ids and a class for each."""
    ids = torch.randint(0, WORDS, (ROWS[stage] // 2, length), generator=generator(stage))
    noise = torch.randint(0, 2, ids.shape, generator=generator(stage))
    return ids, (ids // 3 + noise) % CLASSES


class Tokens(Module):
    """Its forward gives ``(N, T, C)``."""

    def __init__(self, classes=CLASSES):
        super().__init__(nn.Sequential(nn.Embedding(WORDS, 8), nn.Linear(8, classes)))

    def loss(self, batch, stage):
        ids, y = batch
        return F.cross_entropy(self(ids).view(-1, CLASSES), y.view(-1))

    def by_hand(self, batch, stage):
        ids, y = batch
        kept = y.flatten() != -100
        return self.net(ids.flatten()[kept]), y.flatten()[kept]


@shape("tokens that the loss takes flat", lambda stage: load(sentences(stage), size=6))
class FlatTokens(Tokens):
    pass


class Transposed(Tokens):
    def loss(self, batch, stage):
        ids, y = batch
        return F.cross_entropy(self(ids).transpose(1, 2), y)


@shape("tokens that the loss takes transposed", lambda stage: load(sentences(stage), size=6))
class TransposedTokens(Transposed):
    pass


@shape("as many tokens as classes", lambda stage: load(sentences(stage, length=CLASSES), size=6))
class SquareTokens(Transposed):
    pass


def padded(stage):
    ids, y = sentences(stage)
    return ids, torch.where(torch.arange(5) > 2 + ids[:, :1] % 3, -100, y)


@shape("tokens with padding of -100", lambda stage: load(padded(stage), size=6))
class PaddedTokens(Tokens):
    pass


def masked(stage):
    ids, y = padded(stage)
    return load(
        (ids, (y >= 0).long(), y.clamp(min=0)), lambda i, m, y: {"ids": i, "attention_mask": m, "labels": y}, size=6
    )


@shape("tokens that the step chooses by a mask", masked)
class ChosenTokens(Tokens):
    def loss(self, batch, stage):
        active = batch["attention_mask"].view(-1) == 1
        return F.cross_entropy(self(batch["ids"]).view(-1, CLASSES)[active], batch["labels"].view(-1)[active])

    def by_hand(self, batch, stage):
        kept = batch["attention_mask"].flatten().bool()
        return self.net(batch["ids"].flatten()[kept]), batch["labels"].flatten()[kept]


def chains(stage):
    """Ids of which each is mostly the one after its predecessor."""
    steps = torch.where(torch.rand(ROWS[stage] // 2, 6, generator=generator(stage)) < 0.7, 1, 3)
    return load((steps.cumsum(1) % WORDS,), lambda ids: ids, size=6)


@shape("a language model", chains)
class NextToken(Tokens):
    def __init__(self):
        super().__init__(WORDS)

    def loss(self, batch, stage):
        logits = self(batch)
        return F.cross_entropy(logits[:, :-1].reshape(-1, WORDS), batch[:, 1:].reshape(-1))

    def by_hand(self, batch, stage):
        return self.net(batch[:, :-1].flatten()), batch[:, 1:].flatten()


@shape(
    "yes or no for each token, told",
    lambda stage: load((sentences(stage)[0], (sentences(stage)[1] > 0).float()), size=6),
    task="binary",
    options={"task": "binary"},
)
class BinaryTokens(Tokens):
    def __init__(self):
        super().__init__(1)
        nn.init.constant_(self.net[1].bias, 0.5)

    def loss(self, batch, stage):
        ids, y = batch
        return F.binary_cross_entropy_with_logits(self(ids).squeeze(-1), y)

    def by_hand(self, batch, stage):
        ids, y = batch
        return self.net(ids.flatten())[:, 0], y.flatten().long()


@shape(
    "a loss for each token of a sequence",
    lambda stage: load(sentences(stage), size=6),
    error="logits|scores_",
    or_right=True,
)
class TokenByToken(Tokens):
    def loss(self, batch, stage):
        ids, y = batch
        return sum(F.cross_entropy(self(ids[:, t]), y[:, t]) for t in range(ids.shape[1]))
