"""Files of the Hugging Face hub: cached, or fetched where there is a network, or said at once to be
missing.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from open_clip.hf_configs import arch_dict

PREFIX = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
_NETWORK_SECONDS = 5.0


def cached(repository: str, names: Sequence[str]) -> Path | None:
    """Return the first of these files that lies in the cache."""
    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def place(repository: str, name: str) -> Path:
    """Where a file would lie in the cache."""
    return (
        Path(constants.HF_HUB_CACHE)
        / f"models--{repository.replace('/', '--')}"
        / "snapshots"
        / "*"
        / name
    )


def address(repository: str) -> str:
    """Whence it would come."""
    return f"{constants.ENDPOINT}/{repository}"


def config_file(repository: str) -> Path:
    """Return the configuration of a model in open_clip's form, from the cache or the network."""
    path = cached(repository, [CONFIG])
    if path is not None:
        return path
    _require_reachable(
        repository,
        CONFIG,
        f"download it with the weights and pass both: load_backbone('folder/{CONFIG}', "
        f"'folder/{WEIGHTS[-1]}')",
    )
    return Path(hf_hub_download(repository, CONFIG))


def beside(text_config: dict, folder: Path) -> dict:
    """Let a configuration's Hugging Face names mean what lies beside it, where that is there.

    So a folder taken from the hub is whole: a tokenizer in it is the model's, as open_clip has it,
    and so is the `config.json` of a transformer. Names of folders count from the configuration's
    own.
    """
    found = dict(text_config)
    for key in ("hf_model_name", "hf_tokenizer_name"):
        if found.get(key) and (folder / found[key]).is_dir():
            found[key] = str((folder / found[key]).resolve())
        elif found.get(key) and (
            _has_tokenizer(folder) if key == "hf_tokenizer_name" else _has_transformer(folder)
        ):
            found[key] = str(folder.resolve())
    return found


def localise(text_config: dict, name: str) -> dict:
    """Replace a configuration's Hugging Face names by folders of the cache, where they lie there.

    transformers would ask the network even for what is cached, and wait long where there is none.

    Raises
    ------
    ModuleNotFoundError
        If transformers is needed and not installed.
    FileNotFoundError
        If a file is neither cached nor to be had (said within ten seconds).
    """
    wanted = {"hf_model_name": ("config.json",), "hf_tokenizer_name": _TOKENIZERS}
    found = dict(text_config)
    for key, names in wanted.items():
        repository = found.get(key)
        if not repository:
            continue
        if find_spec("transformers") is None:
            raise ModuleNotFoundError(
                f"the text tower of {name!r} needs transformers: pip install 'synthmed[hf]'"
            )
        if Path(repository).is_dir():
            continue
        path = cached(repository, names)
        if path is not None:
            found[key] = str(path.parent)
            continue
        what = "transformer" if key == "hf_model_name" else "tokenizer"
        _require_reachable(
            repository,
            names[0],
            f"the {what} of {name!r} is taken from there; to use a copy from elsewhere, set "
            f"{key!r} in text_cfg of the\n"
            f"  configuration (.json) to its folder",
        )
    return found


def reachable(url: str) -> bool:
    """Whether any answer comes from the host of `url`; never waits longer than a few seconds.

    The attempt runs in a thread because a name look-up heeds no timeout.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_NETWORK_SECONDS).close()
            answers.append(True)
        except urllib.error.HTTPError as error:
            # A proxy's refusal is an answer too, but not one from the host.
            answers.append(error.code < 500 and error.code not in (403, 407))
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_SECONDS + 2)
    return any(answers)


def _require_reachable(repository: str, name: str, otherwise: str) -> None:
    if not reachable(address(repository)):
        raise FileNotFoundError(
            f"{name} of {repository!r} is not on this machine and {address(repository)} cannot "
            f"be reached.\n"
            f"  looked for: {place(repository, name)}\n"
            f"  {otherwise}"
        )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _has_transformer(folder: Path) -> bool:
    path = folder / "config.json"
    try:
        return path.is_file() and json.loads(path.read_text()).get("model_type") in arch_dict
    except ValueError:
        return False
