"""What a user passes as settings: made plain once, checked, and without secrets in whatever is written."""
