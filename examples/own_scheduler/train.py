"""Minimise Rosenbrock's function by gradient descent with momentum."""

import json

import slurmtune

# Outside of slurmtune the values given here are used.
trial = slurmtune.trial(lr=0.1, momentum=0.9, step=80)
lr, momentum = trial.params["lr"], trial.params["momentum"]

state = {"x": -1.0, "y": 1.5, "vx": 0.0, "vy": 0.0}
if trial.resumed:
    state = json.loads((trial.checkpoint / "state.json").read_text())

for step in trial.steps():
    x, y = state["x"], state["y"]
    slope_x = -2 * (1 - x) - 40 * x * (y - x * x)
    slope_y = 20 * (y - x * x)
    # Steps of a limited length: with a large rate it would fly off.
    length = max(1.0, (slope_x**2 + slope_y**2) ** 0.5)
    state["vx"] = momentum * state["vx"] - lr * slope_x / length
    state["vy"] = momentum * state["vy"] - lr * slope_y / length
    state["x"], state["y"] = x + state["vx"], y + state["vy"]

    trial.report(loss=(1 - state["x"]) ** 2 + 10 * (state["y"] - state["x"] ** 2) ** 2)
    if step == trial.end:  # at the end of a rung; a loop may save more often
        with trial.save() as folder:
            (folder / "state.json").write_text(json.dumps(state))
