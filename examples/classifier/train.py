"""Train a small neural network on handwritten digits, epoch by epoch, with checkpoints.

Runs by itself (`python train.py`) and under slurmtune. The data come with scikit-learn.
"""

import warnings

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import slurmtune

# Outside of slurmtune the values given here are used.
trial = slurmtune.trial(
    lr=1e-3, layers=1, width=64, alpha=1e-4, batch_size=64, activation="relu", epoch=27
)
params = trial.params

digits = load_digits()
train_x, test_x, train_y, test_y = train_test_split(
    digits.data, digits.target, test_size=0.4, random_state=0, stratify=digits.target
)
scaler = StandardScaler().fit(train_x)
train_x, test_x = scaler.transform(train_x), scaler.transform(test_x)

if trial.resumed:
    model = joblib.load(trial.checkpoint / "model.joblib")
else:
    model = MLPClassifier(
        hidden_layer_sizes=(params["width"],) * params["layers"],
        activation=params["activation"],
        alpha=params["alpha"],
        learning_rate_init=params["lr"],
        batch_size=params["batch_size"],
        random_state=trial.seed,
    )

warnings.simplefilter("ignore", ConvergenceWarning)
with threadpool_limits(1):
    for _epoch in trial.steps():
        model.partial_fit(train_x, train_y, classes=np.unique(digits.target))
        error = 1.0 - model.score(test_x, test_y)
        trial.report(val_error=error, train_loss=model.loss_)
        with trial.save() as folder:
            joblib.dump(model, folder / "model.joblib")
