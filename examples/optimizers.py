"""Train one small network with several optimisers and schedules; then polish it with L-BFGS on all data at once."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import graphc as gc
from graphc import optim

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)

rng = np.random.default_rng(0)
start = {
    "hidden": {"w": rng.normal(0, 0.18, (64, 32)).astype("float32"), "b": np.zeros(32, "float32")},
    "output": {"w": rng.normal(0, 0.25, (32, 10)).astype("float32"), "b": np.zeros(10, "float32")},
}
parameters = {layer: {name: gc.shared(value) for name, value in group.items()} for layer, group in start.items()}
hidden, output = parameters["hidden"], parameters["output"]

x = gc.placeholder("x", shape=("batch", 64), dtype="float32")
y = gc.placeholder("y", shape=("batch",), dtype="int64")
logits = gc.tanh(x @ hidden["w"] + hidden["b"]) @ output["w"] + output["b"]
loss = gc.nn.cross_entropy(logits, y)
predict = gc.function(x, gc.argmax(logits, axis=1))

epochs, batch = 8, 32
steps = epochs * -(-len(train_x) // batch)
optimizers = {
    "SGD": optim.SGD(0.1),
    "momentum, one cycle": optim.SGD(optim.OneCycleLR(0.3, total_steps=steps), momentum=0.9, nesterov=True),
    "Adam": optim.Adam(1e-2),
    "AdamW, warm-up, cosine": optim.AdamW(
        optim.WarmupLR(optim.CosineAnnealingLR(1e-2, T_max=steps - 40), steps=40), clip_norm=1.0
    ),
    "Lion, batches of 4": optim.Accumulate(optim.Lion(1e-2), steps=4),
}
for name, optimizer in optimizers.items():
    for layer, group in start.items():
        for key, value in group.items():
            parameters[layer][key].set_value(value)
    average = optim.ExponentialMovingAverage(optimizer, decay=0.95)
    step = gc.function([x, y], loss, updates=average.updates(loss, parameters))
    averaged = gc.function(x, gc.argmax(logits, axis=1), givens=average.givens())
    order_rng = np.random.default_rng(1)
    for _ in range(epochs):
        order = order_rng.permutation(len(train_x))
        losses = [step(train_x[i], train_y[i]) for i in np.array_split(order, steps // epochs)]
    accuracies = [np.mean(f(test_x) == test_y) for f in (predict, averaged)]
    print(f"{name:22s}: loss {np.mean(losses):.4f}, accuracy {accuracies[0]:.2%}, of averages {accuracies[1]:.2%}")

penalty = sum(gc.sum(group["w"] ** 2) for group in parameters.values())
polish = optim.LBFGS(max_iter=40).function([x, y], loss + 1e-4 * penalty, parameters)
found = polish(train_x, train_y)
accuracy = np.mean(predict(test_x) == test_y)
print(f"L-BFGS after {found.iterations} iterations: loss {found.loss:.4f}, accuracy {accuracy:.2%}")
