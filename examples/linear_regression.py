"""Fit a straight plane by gradient descent, and compare with the closed form."""

import numpy as np

import graphc as gc

rng = np.random.default_rng(0)
inputs = rng.standard_normal((200, 3))
targets = inputs @ np.array([2.0, -1.0, 0.5]) + 3.0 + 0.1 * rng.standard_normal(200)

x = gc.placeholder("x", shape=("n", 3))
y = gc.placeholder("y", shape=("n",))
w = gc.shared(np.zeros(3), name="w")
b = gc.shared(0.0, name="b")

loss = gc.mean((x @ w + b - y) ** 2)
dw, db = gc.grad(loss, [w, b])
step = gc.function([x, y], loss, updates={w: w - 0.1 * dw, b: b - 0.1 * db})

for i in range(200):
    value = step(inputs, targets)
    if i % 50 == 0:
        print(f"step {i:3d}: mean squared error {value:.6f}")

exact = np.linalg.lstsq(np.column_stack([inputs, np.ones(200)]), targets, rcond=None)[0]
found = np.append(w.get_value(), b.get_value())
print("gradient descent:", np.round(found, 4))
print("least squares:   ", np.round(exact, 4))
print(f"largest difference: {np.abs(found - exact).max():.1e}")
