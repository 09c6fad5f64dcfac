"""How well a speaker is understood, attempt by attempt: in the terminal, and as a page. Torch-free."""
