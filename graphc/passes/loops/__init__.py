"""The passes over loops and branches, and what they ask of bodies."""
