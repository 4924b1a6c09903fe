"""What a run needs around its training loop: checks, fixes of models, resume, its folder, metrics and tables."""
