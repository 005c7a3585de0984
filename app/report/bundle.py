"""The page's modules as one script without imports, so that a file draws what the page draws.

Our modules import only by `import { a, b } from "./file.js"` and export only functions, classes and constants by name; each
becomes a function's scope, so names of different files cannot meet.
"""

import re
from collections.abc import Mapping
from pathlib import Path

STATIC = Path(__file__).parents[1] / "ui" / "static"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def bundle(entry: str, *, replaced: Mapping[str, str]) -> str:
    """The script of `entry` with everything that it imports; `replaced` gives other sources for some files."""
    order: list[str] = []
    _visit(entry, replaced, order, set())
    parts = ["const modules = {};"]
    for name in order:
        source = _source(name, replaced)
        names = ", ".join(match.group(1) for match in EXPORT.finditer(source))
        body = EXPORT.sub("", IMPORT.sub(_from_modules, source))
        parts.append(f'modules["{name}"] = (() => {{\n{body}\nreturn {{ {names} }};\n}})();')
    return "\n".join(parts)


def _visit(name: str, replaced: Mapping[str, str], order: list[str], seen: set[str]) -> None:
    if name in seen:
        return
    seen.add(name)
    for match in IMPORT.finditer(_source(name, replaced)):
        _visit(match.group(2), replaced, order, seen)
    order.append(name)


def _source(name: str, replaced: Mapping[str, str]) -> str:
    return replaced.get(name) or (STATIC / name).read_text(encoding="utf-8")


def _from_modules(match: re.Match[str]) -> str:
    return f'const {{{match.group(1)}}} = modules["{match.group(2)}"];'
