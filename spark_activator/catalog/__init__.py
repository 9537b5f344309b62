"""Model files and host settings, turned into frozen, complete values."""
