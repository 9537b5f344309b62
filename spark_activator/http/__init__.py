"""Request heads, the allow-list and answers: bytes and values in, values and bytes out."""
