"""What a run shows, in plain sentences with their evidence. Pure functions of its log."""
