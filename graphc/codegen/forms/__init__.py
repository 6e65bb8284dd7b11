"""The passes over nests, one form a file."""
