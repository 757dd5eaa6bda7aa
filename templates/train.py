"""A toy that trains in about a second: put your training in its place.

It also runs by itself, without slurmtune's driver: python train.py
"""

import json
import math
import random

import slurmtune

FEATURES = 20


def make_examples(count, seed):
    """Return points of two classes; every fifth label is wrong."""
    rng = random.Random(seed)
    examples = []
    for _ in range(count):
        label = rng.random() < 0.5
        center = 0.4 if label else -0.4
        features = [rng.gauss(center, 1.0) for _ in range(FEATURES)]
        examples.append((features, label if rng.random() < 0.8 else not label))
    return examples


def predict(weights, features):
    total = sum(weights[index] * feature for index, feature in enumerate(features))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))


def train_one_epoch(weights, examples, lr, dropout, rng):
    for features, label in examples:
        kept = [0.0 if rng.random() < dropout else feature for feature in features]
        error = predict(weights, kept) - label
        for index, feature in enumerate(kept):
            weights[index] -= lr * error * feature


def evaluate(weights, examples):
    """Return mean loss and share of right answers."""
    loss = right = 0.0
    for features, label in examples:
        probability = predict(weights, features)
        loss -= math.log(max(1e-12, probability if label else 1 - probability))
        right += (probability > 0.5) == label
    return loss / len(examples), right / len(examples)


def main():
    # The values given here count outside of slurmtune, and for hyperparameters that are not tuned.
    trial = slurmtune.trial(lr=0.001, dropout=0.1, epoch=10)
    training = make_examples(800, seed=1)
    validation = make_examples(400, seed=2)

    weights = [0.0] * FEATURES
    if trial.resumed:
        weights = json.loads((trial.checkpoint / "weights.json").read_text())

    for epoch in trial.steps():
        # A generator for each epoch: a resumed training draws what an unbroken one would.
        rng = random.Random(f"{trial.seed} {epoch}")
        shuffled = rng.sample(training, len(training))
        train_one_epoch(weights, shuffled, trial.params["lr"], trial.params["dropout"], rng)

        loss, _ = evaluate(weights, training)
        val_loss, val_acc = evaluate(weights, validation)
        trial.report(val_loss=val_loss, val_acc=val_acc, loss=loss)
        with trial.save() as folder:
            (folder / "weights.json").write_text(json.dumps(weights))


if __name__ == "__main__":
    main()
