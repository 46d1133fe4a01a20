"""Samplers of a chart: which cells are evaluated, what is put through them, and how far off that is."""
