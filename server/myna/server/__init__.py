"""The streaming server: sans-I/O sessions, one batching engine, a thin websocket shell."""
