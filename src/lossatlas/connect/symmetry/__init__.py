"""Permutations that leave a network's function unchanged, and networks aligned and merged by them."""
