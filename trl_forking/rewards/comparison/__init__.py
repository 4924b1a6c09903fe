"""Comparison of answers: what an answer says, and whether it says the same as the gold answer."""
