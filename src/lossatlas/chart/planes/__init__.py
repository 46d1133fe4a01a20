"""Planes and lines: how their directions are made, normalized, and written down."""
