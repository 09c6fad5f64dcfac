"""Training: from scratch, offline fine-tuning, and one speaker in the background."""
