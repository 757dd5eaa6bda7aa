"""slurmtune: hyperparameter tuning in Slurm job arrays.

Inside a training script::

    import slurmtune

    trial = slurmtune.trial()
    for epoch in trial.steps():
        trial.report(val_loss=train_one_epoch(lr=trial.params["lr"]))

This module runs in the job: Python 3.8 or newer, standard library only.
"""

from __future__ import annotations

from slurmtune.errors import SlurmtuneError
from slurmtune.worker.session import Trial, trial

__version__ = "0.1.0"
__all__ = ["SlurmtuneError", "Trial", "__version__", "trial"]
