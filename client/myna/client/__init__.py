"""Clients of the native protocol: a transcriber, a microphone, files, captions in the terminal."""
