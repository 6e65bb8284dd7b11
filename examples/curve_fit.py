"""Fit a damped oscillation with `scipy.optimize.minimize`, which takes the value and the gradient from graphc."""

import numpy as np
from scipy.optimize import minimize

import graphc as gc

truth = np.array([2.0, 0.4, 3.0, 0.5])  # amplitude, damping, frequency, phase
rng = np.random.default_rng(0)
times = np.linspace(0, 6, 300)
measured = truth[0] * np.exp(-truth[1] * times) * np.sin(truth[2] * times + truth[3]) + 0.05 * rng.standard_normal(300)

p = gc.placeholder("p", shape=(4,))
t = gc.constant(times)
model = p[0] * gc.exp(-p[1] * t) * gc.sin(p[2] * t + p[3])
loss = gc.sum((model - gc.constant(measured)) ** 2)
value_and_gradient = gc.function(p, gc.value_and_grad(loss, p))

result = minimize(value_and_gradient, x0=[1.0, 0.1, 2.7, 0.0], jac=True, method="BFGS", options={"gtol": 1e-8})

print(f"{result.nit} iterations, {result.nfev} calls")
print(f"residual per point: {np.sqrt(result.fun / len(times)):.4f} (noise 0.05)")
for name, found, true in zip(("amplitude", "damping", "frequency", "phase"), result.x, truth, strict=True):
    print(f"{name:>9}: {found:7.4f} (true {true})")
