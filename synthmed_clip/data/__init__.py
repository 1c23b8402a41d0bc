"""Images and data sets: reading them, finding copies, preparing downloads; without torch."""

from synthmed_clip.data.duplicates import Duplicate, duplicates_between, duplicates_within
from synthmed_clip.data.images import ImageLike, collect, eight_bit, resize_map, square
from synthmed_clip.data.layouts import Dataset, Item, read_dataset, read_datasets, read_mask
from synthmed_clip.data.prepare import PROTOCOLS, Prepared, prepare

__all__ = [
    "PROTOCOLS",
    "Dataset",
    "Duplicate",
    "ImageLike",
    "Item",
    "Prepared",
    "collect",
    "duplicates_between",
    "duplicates_within",
    "eight_bit",
    "prepare",
    "read_dataset",
    "read_datasets",
    "read_mask",
    "resize_map",
    "square",
]
