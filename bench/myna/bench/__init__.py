"""Measuring: accuracy, latency, load."""
