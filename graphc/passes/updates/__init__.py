"""The passes that merge products, scatters and slices into the values that they update."""
