"""Questions and answers: one reader, for training, analysis and evaluation."""
