"""All that depends on open_clip's inner names: its nets' attributes, its state dicts, its helpers.

The rest of the package sees nn.Module, tensors and text.py's dataclasses. The bounds on
`open_clip_torch` in pyproject.toml are the releases with which this was tested.
"""
