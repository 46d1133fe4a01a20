"""Samplers of a chart: which cells are evaluated, how the rest is interpolated, and how large the error is."""
