"""Lets these tests import what stands beside them, beside their package and above it."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "injected"), str(HERE.parent)]
