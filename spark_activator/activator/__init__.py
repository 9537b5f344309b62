"""One activation of a model: from the first client to idleness."""
