"""CTC decoders with explicit state: log-probabilities in, tokens with their frames out."""
