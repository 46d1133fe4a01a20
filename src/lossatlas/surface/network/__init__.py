"""The loss surface of a network: the user's own L, and the proven shortcuts to it."""
