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

few = la.NetworkSurface(
    model, "cross_entropy", tuple(part[:200] for part in data)
)  # every point of a volume is evaluated
volume = la.volume(few, la.Space.random(few, seed=0), points=11)
print(volume.reading()[1])
volume.plot().save("surroundings-volume.png")
