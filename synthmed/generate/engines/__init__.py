"""What executes a plan, one engine a file; a plan and its producer know none of them."""

from synthmed.generate.engines.local import write_all

__all__ = ["write_all"]
