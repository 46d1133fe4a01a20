"""The table of kinds lies beside the tests as a package, `kinds`; pytest imports it as one and collects nothing from it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore = ["kinds"]
