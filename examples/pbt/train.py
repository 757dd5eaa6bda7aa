"""Climb a hill that is only seen through its hyperparameters.

What counts is q = 1.2 - x^2 - y^2, but a step follows the slope of 1.2 - h0 x^2 - h1 y^2. With
h = (1, 0) or (0, 1) only one of x and y ever gets better; a population finds both.
"""

import json

import slurmtune

# Outside of slurmtune the values given here are used.
trial = slurmtune.trial(h0=1.0, h1=1.0, step=45)
h0, h1 = trial.params["h0"], trial.params["h1"]

x, y = 0.9, 0.9
if trial.resumed:  # from the own checkpoint, or from that of another member of the population
    x, y = json.loads((trial.checkpoint / "place.json").read_text())

for _step in trial.steps():
    x, y = x - 0.02 * 2 * h0 * x, y - 0.02 * 2 * h1 * y
    trial.report(q=1.2 - x * x - y * y)
    with trial.save() as folder:
        (folder / "place.json").write_text(json.dumps([x, y]))
