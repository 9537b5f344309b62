"""Where `spark-model` begins: Ctrl-C while its modules are still imported is no traceback.

It imports nothing before it is ready for that.
"""

from __future__ import annotations

# 128 + SIGINT, as a shell has it; `signal` is a module to import.
INTERRUPTED = 130


def main() -> int:
    """Run one command with the arguments of the process and say the exit status."""
    try:
        from spark_activator.cli import main as command

        return command.main()
    except KeyboardInterrupt:
        return INTERRUPTED
