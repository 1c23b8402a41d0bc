"""Dataset generation: plan it, run it, verify it.

A plan says what every sample is; `run` executes it in this process or in several, and any engine
that calls `Producer.item` for every index and writes what it returns gives the same files.
"""

from synthmed.generate.plan import Plan, Settings, make_plan, read_plan
from synthmed.generate.producer import Item, Producer
from synthmed.generate.run import Refused, Summary, generate
from synthmed.generate.verify import Difference, verify

__all__ = [
    "Difference",
    "Item",
    "Plan",
    "Producer",
    "Refused",
    "Settings",
    "Summary",
    "generate",
    "make_plan",
    "read_plan",
    "verify",
]
