"""Rewards for answers that can be verified."""
