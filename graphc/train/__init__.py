"""The training loop: data, metrics, history, progress and pictures of it."""
