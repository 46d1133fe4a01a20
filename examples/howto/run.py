"""What did my run do? Record a training loop, and lay its path over the plane in which it moved the most."""

import torch
from torch import nn

import lossatlas as la
from lossatlas.demo import digits, digits_mlp

inputs, labels = digits("train")
model = digits_mlp((16,), seed=0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

torch.manual_seed(0)
with la.Recorder(model, optimizer, "run", every=5):
    for _ in range(5):  # epochs, as always
        for batch in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

run = la.Recording.load("run")
surface = la.NetworkSurface(model, "cross_entropy", (inputs, labels))
plane = la.Plane.pca(surface, run)
seen = la.trajectory(surface, plane, run)
for sentence in seen.reading():
    print(sentence)
seen.plot().save("run.png")
