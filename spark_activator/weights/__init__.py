"""What models are read from: hub caches, downloads, and files fetched by their hash."""
