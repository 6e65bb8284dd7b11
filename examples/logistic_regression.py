"""Tell benign from malignant tumours (scikit-learn's breast cancer data) by regularised logistic regression."""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import graphc as gc

features, labels = load_breast_cancer(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    features, labels.astype(float), test_size=0.25, stratify=labels, random_state=0
)
centre, scale = train_x.mean(axis=0), train_x.std(axis=0)
train_x, test_x = (train_x - centre) / scale, (test_x - centre) / scale

x = gc.placeholder("x", shape=("n", 30))
y = gc.placeholder("y", shape=("n",))
w = gc.shared(np.zeros(30), name="w")
b = gc.shared(0.0, name="b")

score = x @ w + b
# log(1 + exp(score)) - y score: the negative log-likelihood, safe for scores of any size.
loss = gc.mean(gc.softplus(score) - y * score) + 0.001 * gc.sum(w * w)
dw, db = gc.grad(loss, [w, b])
step = gc.function([x, y], loss, updates={w: w - 0.5 * dw, b: b - 0.5 * db})
probability = gc.function(x, gc.sigmoid(score))

for i in range(300):
    value = step(train_x, train_y)
    if i % 100 == 99:
        accuracy = np.mean((probability(test_x) > 0.5) == test_y)
        print(f"step {i + 1}: loss {value:.4f}, held-out accuracy {accuracy:.2%}")
