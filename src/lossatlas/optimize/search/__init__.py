"""Methods that compare values."""
