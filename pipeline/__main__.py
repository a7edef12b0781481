"""``python -m pipeline STAGE ...``: the same as ``avvp STAGE ...``."""

import sys

from pipeline.cli import main

sys.exit(main())
