"""``python -m bua`` is ``bua``."""

import sys

from bua.cli import main

sys.exit(main())
