"""Lets these tests import the tiny models that stand beside them and one directory up."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
