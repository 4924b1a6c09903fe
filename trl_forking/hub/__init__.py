"""Pushing a run to the Hub: every failure is one sentence, and none stops training."""
