"""Train a small convolutional network on handwritten digits with PyTorch, with checkpoints.

PyTorch is not installed with slurmtune; see spec.toml. The data come with scikit-learn.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import slurmtune

trial = slurmtune.trial(lr=0.05, momentum=0.9, channels=16, dropout=0.1, epoch=9)
params = trial.params
torch.manual_seed(trial.seed)
torch.set_num_threads(1)
device = "cuda" if torch.cuda.is_available() else "cpu"

digits = load_digits()
images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1).to(device)
labels = torch.tensor(digits.target).to(device)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).to(device)
train, test = order[:1200], order[1200:]

model = nn.Sequential(
    nn.Conv2d(1, params["channels"], 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(params["dropout"]),
    nn.Linear(params["channels"] * 16, 10),
).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"], momentum=params["momentum"])

if trial.resumed:
    state = torch.load(trial.checkpoint / "state.pt", map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])

for _epoch in trial.steps():
    model.train()
    for batch in train[torch.randperm(len(train), device=device)].split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        wrong = (model(images[test]).argmax(1) != labels[test]).float().mean().item()
    trial.report(val_error=wrong)
    with trial.save() as folder:
        torch.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
            folder / "state.pt",
        )
