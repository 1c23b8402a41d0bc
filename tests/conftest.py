"""Settings of every test: runs are reproducible, and what Numba compiles on first use breaks no
deadline.
"""

from hypothesis import settings

settings.register_profile("synthmed", derandomize=True, deadline=None, database=None)
settings.load_profile("synthmed")
