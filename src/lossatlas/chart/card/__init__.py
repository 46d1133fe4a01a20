"""The honesty card: what a picture can and cannot show, measured on the surface itself."""
