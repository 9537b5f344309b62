"""`python -m spark_activator.runner NAME`."""

import sys

from spark_activator.runner.main import main

sys.exit(main(sys.argv[1:]))
