"""``python -m synthmed`` is the command ``synthmed``."""

import sys

from synthmed.cli import main

sys.exit(main())
