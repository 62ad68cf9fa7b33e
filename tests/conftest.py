"""Settings of the whole suite: property tests draw the same cases every time, so that a run can be repeated.

`HYPOTHESIS_PROFILE=search` draws new ones instead, to look for counterexamples.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
