"""What the update computes: scoring requests, and a forward and backward pass for kept tokens only."""
