"""Typed loop nests: their language, and how kernels are lowered to it."""
