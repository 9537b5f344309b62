"""The `spark-model` command."""
