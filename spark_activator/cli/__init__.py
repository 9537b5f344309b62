"""The command `spark-model`: one module a command, and the only place that prints."""
