"""Fit a ridge regression by gradient descent, one pass over the data for each epoch."""

import json
import random

import slurmtune

# Outside of slurmtune the values given here are used.
trial = slurmtune.trial(lr=0.05, penalty=1e-4, epoch=9)
lr, penalty = trial.params["lr"], trial.params["penalty"]

FEATURES = 5
source = random.Random(0)  # the same data in every trial
truth = [source.gauss(0, 1) for _ in range(FEATURES)]


def sample():
    row = [source.gauss(0, 1) for _ in range(FEATURES)]
    return row, sum(w * x for w, x in zip(truth, row, strict=True)) + source.gauss(0, 0.3)


train, test = [sample() for _ in range(200)], [sample() for _ in range(200)]


def error(weights, row, target):
    return sum(w * x for w, x in zip(weights, row, strict=True)) - target


weights = [0.0] * FEATURES
if trial.resumed:
    weights = json.loads((trial.checkpoint / "weights.json").read_text())

for _epoch in trial.steps():
    for row, target in train:
        miss = max(-10.0, min(10.0, error(weights, row, target)))
        weights = [w - lr * (miss * x + penalty * w) for w, x in zip(weights, row, strict=True)]
    loss = sum(error(weights, row, target) ** 2 for row, target in test) / len(test)
    trial.report(val_loss=loss)
    with trial.save() as folder:
        (folder / "weights.json").write_text(json.dumps(weights))
