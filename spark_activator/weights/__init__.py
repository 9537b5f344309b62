"""Weights on disk: downloads from the Hugging Face hub, and what lies in its caches."""
