"""Images as a detector takes them, and data sets in the layouts that people have."""

from synthmed_clip.data.duplicates import Duplicate, duplicates_between, duplicates_within
from synthmed_clip.data.images import ImageLike, collect, square
from synthmed_clip.data.layouts import Dataset, Item, read_dataset, read_datasets
from synthmed_clip.data.masks import read_mask
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
    "prepare",
    "read_dataset",
    "read_datasets",
    "read_mask",
    "square",
]
