"""The life of one engine: lease, memory, container, readiness, stop."""
