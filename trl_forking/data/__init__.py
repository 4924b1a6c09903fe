"""Questions and answers: one reader, for training and for analysis."""
