"""Serve language models on demand by systemd socket activation, one process pair a model."""

__version__ = "0.1.0"
