"""My model is on a cluster. Estimate there, chart there with a folder that survives interruptions, draw anywhere."""

from pathlib import Path

import torch

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

data = digits("train")
trained = digits_mlp((16,), seed=0)
fit(trained, data, epochs=40, seed=0)
torch.save(trained.state_dict(), "weights.pt")

# On the cluster: the model from its checkpoint, the cost before anything is evaluated, then the chart.
model = digits_mlp((16,))
la.load_checkpoint(model, "weights.pt")
surface = la.NetworkSurface(model, "cross_entropy", data)
plane = la.Plane.random(surface, seed=0)
print(la.forecast(surface, plane, points=31).sentence)
chart = la.chart(surface, plane, points=31, ledger="chart")  # kill it at any moment: the same call resumes
chart.save("chart")
again = la.chart(surface, plane, points=31, ledger="chart")
print("evaluated again:", again.meter.values, "of", again.meter.values + again.meter.recalled)

# At home: copy the folder. Neither the model nor its data are needed.
la.load(Path("chart")).plot(scale="log").save("cluster.png")
