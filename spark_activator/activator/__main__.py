"""`python -m spark_activator.activator NAME`, as spark-model@.service starts it."""

import sys

from spark_activator.activator.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
