"""What executes a plan, one engine a file; a plan and its producer know none of them."""

from synthmed.generate.engines.local import require_importable, write_all

__all__ = ["require_importable", "write_all"]
