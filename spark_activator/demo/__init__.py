"""The embedded engine: a small OpenAI-compatible server that needs no GPU."""
