"""Finding, reading and writing images and volumes, with their geometry."""

from synthmed.io.convert import LUMA, grey, resize
from synthmed.io.encode import encode, suffix_for
from synthmed.io.extremes import dwarfed_by_extremes
from synthmed.io.file_mask import FileMask
from synthmed.io.files import has_mark, remove_temporary, require_own, write_atomically
from synthmed.io.find import count_others, find_image, find_images
from synthmed.io.image import Image, ImageWarning, MissingExtra, MissingFile, Unreadable
from synthmed.io.inputs import Input, find_inputs
from synthmed.io.read import MaskLevel, read_image, read_mask, require_mask_level
from synthmed.io.readers import Reader, add_reader, suffixes
from synthmed.io.region import find_region, read_mask_of, read_region, stem_of
from synthmed.io.series import Series, find_series
from synthmed.io.value_range import ValueRange, require_value_range, value_range_of

__all__ = [
    "LUMA",
    "FileMask",
    "Image",
    "ImageWarning",
    "Input",
    "MaskLevel",
    "MissingExtra",
    "MissingFile",
    "Reader",
    "Series",
    "Unreadable",
    "ValueRange",
    "add_reader",
    "count_others",
    "dwarfed_by_extremes",
    "encode",
    "find_image",
    "find_images",
    "find_inputs",
    "find_region",
    "find_series",
    "grey",
    "has_mark",
    "read_image",
    "read_mask",
    "read_mask_of",
    "read_region",
    "remove_temporary",
    "require_mask_level",
    "require_own",
    "require_value_range",
    "resize",
    "stem_of",
    "suffix_for",
    "suffixes",
    "value_range_of",
    "write_atomically",
]
