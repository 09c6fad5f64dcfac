"""Learning one speaker: from what the store keeps to a version that passed the gate."""
