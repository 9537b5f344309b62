"""`python -m spark_activator` is `spark-model`."""

import sys

from spark_activator.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
