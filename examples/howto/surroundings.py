"""What does the ground around my model look like? A chart of a small trained CNN, on two random directions."""

import lossatlas as la
from lossatlas.demo import digits, digits_cnn, fit

data = digits("train", images=True)
model = digits_cnn(seed=0)
fit(model, data, epochs=4, seed=0)

surface = la.NetworkSurface(model.eval(), "cross_entropy", data)
plane = la.Plane.random(surface, seed=0, normalization="filter")
print(la.forecast(surface, plane, points=31).sentence)

chart = la.chart(surface, plane, span=1.0, points=31)
print(chart.certificate.sentence)
print(chart.topology().sentence)
chart.plot(samples=True).save("surroundings.png")
chart.plot_relief().save("surroundings-relief.png")
