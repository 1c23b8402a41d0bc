"""Reading and writing images and volumes, and finding them."""

from synthmed.io.files import remove_temporary, write_atomically
from synthmed.io.images import Unreadable, channel_axis_of, encode, grey, read_image, resize
from synthmed.io.inputs import Input, find_inputs

__all__ = [
    "Input",
    "Unreadable",
    "channel_axis_of",
    "encode",
    "find_inputs",
    "grey",
    "read_image",
    "remove_temporary",
    "resize",
    "write_atomically",
]
