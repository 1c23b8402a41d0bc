"""Synthetic anomalies in other libraries, one file a library; each is imported by its own name."""

__all__: list[str] = []
