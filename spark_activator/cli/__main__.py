"""`python -m spark_activator.cli`, as units start it."""

import sys

from spark_activator.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
