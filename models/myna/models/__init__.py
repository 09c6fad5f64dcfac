"""What is true of a model, and what lies on disk. No torch outside `nn`."""
