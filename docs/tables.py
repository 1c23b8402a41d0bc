"""Keep the README's table of methods as the dataclasses have it.

python docs/tables.py            # write it
python docs/tables.py --check    # exit status 1 if it is not current
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

from synthmed_clip import Method

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(?<=<!-- methods: made by docs/tables.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
METHODS = tuple(m for m in Method.known.values() if m.__module__.startswith("synthmed_clip."))


def method_table(methods: tuple[type[Method], ...]) -> str:
    """Return a Markdown table: a row for each method, and one for each of its fields."""
    rows = ["| method, field | default | |", "|---|---|---|"]
    for method in methods:
        summary = inspect.getdoc(method).partition("\n\n")[0].replace("\n", " ")
        rows.append(f"| **`{method.__name__}`**, `{method.name}` | | {summary} |")
        described = descriptions(method)
        for field in dataclasses.fields(method):
            text = described[field.name].replace("|", "\\|")
            rows.append(f"| `{field.name}` | `{shown(field.default)}` | {text} |")
    return "\n".join(rows) + "\n"


def descriptions(method: type[Method]) -> dict[str, str]:
    """Read what the docstring's section Parameters (numpydoc) says of each field.

    Raises
    ------
    ValueError
        If it does not describe the fields, all of them and no others.
    """
    found: dict[str, str] = {}
    section = re.search(r"Parameters\n-+\n((?:(?!.*\n---).*\n?)*)", inspect.getdoc(method))
    entries = r"^(\S.*) : .*\n((?: +.*\n?)+)"
    for names, text in re.findall(entries, section[1] if section else "", re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    fields = [field.name for field in dataclasses.fields(method)]
    if list(found) != fields:
        raise ValueError(f"{method.__name__} has {fields}, its docstring describes {list(found)}")
    return found


def shown(value: object) -> str:
    """Return a default as one writes it; of long ones the beginning."""
    if isinstance(value, Method) and value == type(value)():
        return f"{type(value).__name__}()"
    if isinstance(value, tuple):
        rest = [f"{len(value) - 2} more"] if len(value) > 3 else []
        return f"({', '.join([*map(shown, value[: 2 if rest else None]), *rest])})"
    return repr(value)


def updated(text: str) -> str:
    """Return a page with its table written anew.

    Raises
    ------
    ValueError
        If it has no place for one, or two.
    """
    if len(BLOCK.findall(text)) != 1:
        raise ValueError("expected one block between the comments `methods` and `end`")
    return BLOCK.sub(lambda _: method_table(METHODS), text)


if __name__ == "__main__":
    before = README.read_text(encoding="utf-8")
    after = updated(before)
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if after == before else "the table of methods is not current: docs/tables.py")
    README.write_text(after, encoding="utf-8")
