"""What evaluations come to: shares of right answers with their intervals."""

from .intervals import compute_difference_interval, compute_share_interval, compute_standard_error


__all__ = ["compute_difference_interval", "compute_share_interval", "compute_standard_error"]
