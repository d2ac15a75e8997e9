"""Members whose errors are known, and strategies once more, slow and from their formulas."""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp


def drawn(rows=400, members=4, classes=3, seed=0, sharp=1.5):
    """Log-probabilities of members that get worse one by one, and classes drawn from true probabilities."""
    generator = torch.Generator().manual_seed(seed)
    true = 2 * torch.randn(rows, 1, classes, generator=generator, dtype=torch.float64)
    target = torch.multinomial(true[:, 0].softmax(1), 1, generator=generator)[:, 0]
    noise = torch.randn(rows, members, classes, generator=generator, dtype=torch.float64)
    noise = noise * torch.linspace(0.7, 2.0, members, dtype=torch.float64)[:, None]
    return ((true + noise) * sharp).log_softmax(2), target


def loss_of(logp, target):
    return -float(np.asarray(logp)[np.arange(len(target)), np.asarray(target)].mean())


def mixture(logp, weights):
    with np.errstate(divide="ignore"):
        return logsumexp(np.asarray(logp) + np.log(np.asarray(weights))[:, None], axis=1)


def product(logp, weights):
    return log_softmax((np.asarray(logp) * np.asarray(weights)[:, None]).sum(1), axis=1)


def coldest(joint, target):
    """The temperature with the least log loss."""
    found = minimize(
        lambda log: loss_of(log_softmax(np.asarray(joint) / np.exp(log), axis=1), target), [0.0], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14},
    )  # fmt: skip
    return float(np.exp(found.x[0]))


def em(logp, target, prior=1.0, steps=20_000):
    """Weights of a mixture by expectation and maximisation, and the objective after each step."""
    own = np.exp(np.asarray(logp)[np.arange(len(target)), :, np.asarray(target)])
    weights, objective = np.full(own.shape[1], 1 / own.shape[1]), []
    for _ in range(steps):
        joint = own * weights
        weights = ((joint / joint.sum(1, keepdims=True)).sum(0) + prior / len(weights)) / (len(own) + prior)
        objective.append(np.log(own @ weights).sum() + prior / len(weights) * np.log(weights).sum())
    return weights, np.array(objective)


def greedy(logp, target, rounds=50):
    own = np.exp(np.asarray(logp)[np.arange(len(target)), :, np.asarray(target)])
    bag, best, kept = [], np.inf, None
    for _ in range(rounds):
        losses = [-np.log(own[:, [*bag, k]].mean(1)).mean() for k in range(own.shape[1])]
        bag.append(int(np.argmin(losses)))
        if min(losses) < best - 1e-12:
            best, kept = min(losses), list(bag)
    return np.bincount(kept, minlength=own.shape[1]) / len(kept)


def log_linear(logp, target):
    members = logp.shape[1]
    found = minimize(
        lambda weights: loss_of(product(logp, weights), target), np.full(members, 1 / members), method="L-BFGS-B",
        bounds=[(0, 100)] * members, options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000},
    )  # fmt: skip
    return found.x, found.fun


def stacking_objective(logp, target, c):
    """The loss of stacking as a function of one vector of coefficients and bias."""
    rows, members, classes = logp.shape
    features, offset = np.clip(np.asarray(logp), -30, None).reshape(rows, -1), np.asarray(logp).mean(1)
    hot = np.eye(classes)[np.asarray(target)]

    def objective(flat):
        weight, bias = flat[:-classes].reshape(members * classes, classes), flat[-classes:]
        chance = log_softmax(offset + features @ weight + bias, axis=1)
        off = np.exp(chance) - hot
        value = -(chance * hot).sum() + (weight**2).sum() / (2 * c)
        return value, np.concatenate([(features.T @ off + weight / c).ravel(), off.sum(0)])

    return objective
