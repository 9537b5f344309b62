"""`python -m spark_activator.render.clients` prints docs/integrations.md."""

import sys

from spark_activator.render.clients.page import page

sys.stdout.write(page())
