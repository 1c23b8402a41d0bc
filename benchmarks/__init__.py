"""Speed, always as a ratio to a named peer measured in the same process, interleaved: ``python -m
benchmarks``.
"""
