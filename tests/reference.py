"""The same figures once more, by scikit-learn."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn import metrics as sk

from lightning_posttrain.classification.result.report import ClassificationReport


def report(actual, predicted, classes: int) -> dict[str, object]:
    """Figures of predicted classes under the conventions of ``classification_report``.

    These are scikit-learn's with ``zero_division=0`` over the classes that are there or were predicted, except
    that the recall of a class without rows is not defined, nor the specificity of one that all rows have.
    """
    labels = list(range(classes))
    actual, predicted = np.asarray(actual), np.asarray(predicted)
    one_against_all = sk.multilabel_confusion_matrix(actual, predicted, labels=labels)
    gone = np.array([k not in actual and k not in predicted for k in labels])
    each = _each(actual, predicted, labels, one_against_all, gone)
    weighted = sk.precision_recall_fscore_support(actual, predicted, average="weighted", zero_division=0)
    return {
        **each,
        "counts": sk.confusion_matrix(actual, predicted, labels=labels),
        "accuracy": sk.accuracy_score(actual, predicted),
        "balanced_accuracy": np.nanmean(each["recall"]),
        "mcc": _mcc(actual, predicted),
        "cohen_kappa": _kappa(actual, predicted),
        **{f"{name}_macro": _mean(values) for name, values in each.items() if name != "support"},
        "precision_weighted": weighted[0],
        "recall_weighted": weighted[1],
        "f1_weighted": weighted[2],
        "jaccard_weighted": sk.jaccard_score(actual, predicted, labels=labels, average="weighted", zero_division=0),
    }


def labels_report(actual, predicted) -> dict[str, object]:
    """The same for labels ``(N, L)`` of 0 and 1."""
    actual, predicted = np.asarray(actual), np.asarray(predicted)
    labels = list(range(actual.shape[1]))
    gone = ~(actual.any(0) | predicted.any(0))
    each = _each(actual, predicted, labels, sk.multilabel_confusion_matrix(actual, predicted), gone)
    each["mcc"] = np.array([_mcc(a, p) for a, p in zip(actual.T, predicted.T, strict=True)])
    micro = sk.precision_recall_fscore_support(actual, predicted, average="micro", zero_division=np.nan)
    return {
        **each,
        "accuracy": sk.accuracy_score(actual, predicted),
        "hamming_loss": sk.hamming_loss(actual, predicted),
        "f1_macro": _mean(each["f1"]),
        "mcc_macro": _mean(each["mcc"]),
        "precision_micro": 0.0 if actual.any() and not predicted.any() else micro[0],
        "recall_micro": micro[1],
        "f1_micro": micro[2] if actual.any() or predicted.any() else np.nan,
    }


def _each(actual, predicted, labels, one_against_all, gone):
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        actual, predicted, labels=labels, zero_division=0
    )
    jaccard = sk.jaccard_score(actual, predicted, labels=labels, average=None, zero_division=0)
    precision, f1, jaccard = (np.where(gone, np.nan, values) for values in (precision, f1, jaccard))
    tn, fp = one_against_all[:, 0, 0], one_against_all[:, 0, 1]
    with np.errstate(invalid="ignore"):
        specificity = np.where(gone, np.nan, tn / (tn + fp))
    recall = np.where(support == 0, np.nan, recall)
    return {
        "support": support, "precision": precision, "recall": recall, "specificity": specificity, "f1": f1,
        "jaccard": jaccard,
    }  # fmt: skip


def _mean(values):
    return np.nan if np.isnan(values).all() else np.nanmean(values)


def _alone(actual, predicted):
    """Whether there is one class only, of which newer releases of scikit-learn warn."""
    return len({*actual.tolist(), *predicted.tolist()}) == 1


def _mcc(actual, predicted):
    return 0.0 if _alone(actual, predicted) else sk.matthews_corrcoef(actual, predicted)


def _kappa(actual, predicted):
    return np.nan if _alone(actual, predicted) else sk.cohen_kappa_score(actual, predicted)


def losses(actual, scores) -> dict[str, float]:
    """Log loss, Brier score and expected calibration error from logits ``(N, C)``, in float64."""
    scores = np.asarray(scores, dtype=np.float64)
    rows, classes = np.arange(len(scores)), scores.shape[1]
    p = softmax(scores, axis=1)
    loss = logsumexp(scores, axis=1) - scores[rows, actual]
    distance = ((p - np.eye(classes)[actual]) ** 2).sum(1) / (2 if classes == 2 else 1)
    return {"log_loss": loss.mean(), "brier": distance.mean(), "ece": ece(p.max(1), scores.argmax(1) == actual)}


def ece(confidence, right, bins: int = 15) -> float:
    """Expected calibration error, bin by bin; what is above an edge by a rounding is at it."""
    total = 0.0
    place = np.searchsorted(np.arange(1, bins) / bins + 1e-6, confidence)
    for k in range(bins):
        chosen = place == k
        if chosen.any():
            total += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    return total


def log_odds(scores):
    """Log-odds of each class against the others ``(N, C)``, which tell apart what probabilities near 1 do not.

    Equal ones are equal to the last bit, whatever the order of the others and whatever is added to all.
    """
    scores = np.asarray(scores, dtype=np.float64)
    scores = scores - scores.max(axis=1, keepdims=True)
    others = [logsumexp(np.sort(np.delete(scores, k, axis=1), axis=1), axis=1) for k in range(scores.shape[1])]
    return scores - np.stack(others, axis=1)


def areas(actual, order) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision of each column; NaN where not defined."""
    pairs = [(a, o) for a, o in zip(np.asarray(actual).T, np.asarray(order).T, strict=True)]
    auroc = [sk.roc_auc_score(a, o) if 0 < a.sum() < len(a) else np.nan for a, o in pairs]
    return np.array(auroc), np.array([sk.average_precision_score(a, o) if a.any() else np.nan for a, o in pairs])


def assert_equal(found: ClassificationReport, expected: dict[str, object]) -> None:
    np.testing.assert_array_equal(found.support.numpy(), expected["support"])
    for name, values in found.per_class.items():
        if name in expected:
            np.testing.assert_allclose(values.numpy(), expected[name], rtol=0, atol=1e-12, err_msg=name)
    shared = set(found.overall) & set(expected)
    assert len(shared) >= 7
    for name in shared:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12, err_msg=name)
