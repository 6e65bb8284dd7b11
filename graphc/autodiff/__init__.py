"""Derivatives as more nodes, and the loops and branches that have derivatives of their own."""
