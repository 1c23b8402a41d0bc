"""Dataset generation: settings and a plan, the samples' producer, engines that run it, and checks.

A plan says what every sample is; any engine that calls `write_items` for every index, in any order,
gives the same files.
"""

from synthmed.generate.gallery import draw_gallery
from synthmed.generate.plan import Plan, make_plan, read_plan
from synthmed.generate.preview import draw_recipe
from synthmed.generate.producer import Item, Producer, write_items
from synthmed.generate.run import Refused, Summary, generate
from synthmed.generate.settings import Settings
from synthmed.generate.verify import Difference, verify

__all__ = [
    "Difference",
    "Item",
    "Plan",
    "Producer",
    "Refused",
    "Settings",
    "Summary",
    "draw_gallery",
    "draw_recipe",
    "generate",
    "make_plan",
    "read_plan",
    "verify",
    "write_items",
]
