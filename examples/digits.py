"""Classify handwritten digits: a two-layer network, one compiled function that trains and one that predicts."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphc as gc

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)

x = gc.placeholder("x", shape=("batch", 64), dtype="float32")
y = gc.placeholder("y", shape=("batch",), dtype="int64")

rng = np.random.default_rng(0)
w1 = gc.shared(rng.normal(0, 0.18, (64, 128)).astype("float32"), name="w1")
b1 = gc.shared(np.zeros(128, "float32"), name="b1")
w2 = gc.shared(rng.normal(0, 0.12, (128, 10)).astype("float32"), name="w2")
b2 = gc.shared(np.zeros(10, "float32"), name="b2")
parameters = [w1, b1, w2, b2]

logits = gc.nn.relu(x @ w1 + b1) @ w2 + b2
loss = gc.nn.cross_entropy(logits, y)
velocities = [gc.shared(np.zeros_like(p.get_value()), name=f"v_{p.name}") for p in parameters]

updates = {}
for parameter, gradient, velocity in zip(parameters, gc.grad(loss, parameters), velocities, strict=True):
    updates[velocity] = 0.9 * velocity + gradient
    updates[parameter] = parameter - 0.05 * updates[velocity]
step = gc.function([x, y], loss, updates=updates)
predict = gc.function(x, gc.argmax(logits, axis=1))

for epoch in range(20):
    order = rng.permutation(len(train_x))
    batches = [order[i : i + 32] for i in range(0, len(order), 32)]
    mean = np.mean([step(train_x[b], train_y[b]) for b in batches])
    if epoch % 5 == 4:
        accuracy = np.mean(predict(test_x) == test_y)
        print(f"epoch {epoch + 1:2d}: loss {mean:.4f}, held-out accuracy {accuracy:.2%}")
