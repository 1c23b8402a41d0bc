"""Files of the Hugging Face hub: from its cache, or the network, or said at once to be missing."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from synthmed_clip.backbone.open_clip_internals.towers import TRANSFORMER_TYPES

PREFIX = "hf-hub:"
CONFIG = "open_clip_config.json"
CONFIGS = (CONFIG, "config.json")
"""open_clip's, and what timm's and transformers' models have in its place."""
PREPROCESSING = "preprocessor_config.json"
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
    """Return the first of these files that is in the hub's cache.

    Examples
    --------
    >>> cached("nobody/no-such-model", ["config.json"]) is None
    True
    """
    for name in names:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def fetch(repository: str, names: Sequence[str], what: str, remedy: str) -> Path:
    """Return the first of these files that there is, in the cache or else on the hub.

    Parameters
    ----------
    repository, names, what, remedy
        As in `require_reachable`.

    Raises
    ------
    FileNotFoundError
        If none is in either (said within ten seconds).
    """
    path = cached(repository, names)
    if path is not None:
        return path
    require_reachable(repository, what, names, remedy)
    for name in names:
        with suppress(EntryNotFoundError):
            return Path(hf_hub_download(repository, name))
    raise FileNotFoundError(f"{repository!r} on the hub has no {' or '.join(names)}")


def fetch_config(repository: str) -> Path:
    """Return the configuration of a model, from the cache or the network.

    Raises
    ------
    FileNotFoundError
        If it is in neither (said within ten seconds).
    """
    return fetch(
        repository,
        CONFIGS,
        f"{' or '.join(reversed(CONFIGS))} of {repository!r} is",
        f"download it with the weights and pass both: load_backbone('folder/{CONFIG}', "
        f"'folder/{WEIGHTS[-1]}')",
    )


def fetch_preprocessing(repository: str) -> Path:
    """Return what a model of transformers' says of its images, likewise."""
    return fetch(
        repository,
        [PREPROCESSING],
        f"{PREPROCESSING} of {repository!r} is",
        "download all of its files to a folder and pass that: load_backbone('folder')",
    )


def resolve_in_folder(text_config: dict, folder: Path) -> dict:
    """Replace a configuration's Hugging Face names by folders, where its own folder has the files.

    So a folder taken from the hub is whole: a tokenizer in it is the model's, as open_clip has it,
    and so is the `config.json` of a transformer. Names of folders count from `folder`.

    Parameters
    ----------
    text_config : dict
        The part `text_cfg` of a configuration.
    folder : Path
        Where the configuration was.
    """
    found = dict(text_config)
    for key, is_there in (
        ("hf_model_name", _has_transformer),
        ("hf_tokenizer_name", _has_tokenizer),
    ):
        if found.get(key) and (folder / found[key]).is_dir():
            found[key] = str((folder / found[key]).resolve())
        elif found.get(key) and is_there(folder):
            found[key] = str(folder.resolve())
    return found


def resolve_in_cache(text_config: dict, name: str) -> dict:
    """Replace a configuration's Hugging Face names by folders of the hub's cache, where they are
    in it.

    transformers would ask the network even for what is cached, and wait long where there is none.

    Parameters
    ----------
    text_config : dict
        The part `text_cfg` of a configuration.
    name : str
        The model's, for messages.

    Raises
    ------
    ModuleNotFoundError
        If transformers is needed and not installed.
    FileNotFoundError
        If a file is neither cached nor to be had (said within ten seconds).

    Examples
    --------
    >>> resolve_in_cache({"width": 16}, "a tower of CLIP's own kind")
    {'width': 16}
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
        require_reachable(
            repository,
            f"{names[0]} of {repository!r} is",
            names,
            f"the {what} of {name!r} is taken from there; to use a copy from elsewhere, set "
            f"{key!r} in text_cfg of the\n"
            f"  configuration (.json) to its folder",
        )
    return found


def require_reachable(repository: str, what: str, names: Sequence[str], remedy: str) -> None:
    """Refuse to go on to a download that could not succeed.

    Parameters
    ----------
    repository : str
    what : str
        What is missing, with its verb: the message's beginning.
    names : sequence of str
        The files that were looked for in the cache.
    remedy : str
        What to do where there is no network.

    Raises
    ------
    FileNotFoundError
        If the hub does not answer (said within ten seconds) or its offline mode is on.
    """
    url = f"{constants.ENDPOINT}/{repository}"
    if not _is_reachable(url):
        raise FileNotFoundError(
            f"{what} not on this machine and {url} cannot be reached.\n"
            f"  looked for: {' or '.join(names)} of {repository!r} in {constants.HF_HUB_CACHE}\n"
            f"  {remedy}"
        )


def _is_reachable(url: str) -> bool:
    """Whether any answer comes from the host of `url`; never waits longer than a few seconds.

    Nothing is asked in the hub's offline mode. The attempt runs in a thread because a name look-up
    heeds no timeout.
    """
    if constants.HF_HUB_OFFLINE:
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


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _has_transformer(folder: Path) -> bool:
    path = folder / "config.json"
    try:
        return (
            path.is_file() and json.loads(path.read_text()).get("model_type") in TRANSFORMER_TYPES
        )
    except ValueError:
        return False
