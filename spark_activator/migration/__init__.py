"""Taking over a checkout of dgx-spark-inference-stack: its files in, model files out."""
