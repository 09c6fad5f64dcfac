"""The model in PyTorch: forward for training and parity, import of foreign checkpoints, export to ONNX."""
