"""Writes docs/api.md from the docstrings of clipcore: `python docs/make_api.py`. A test compares the two."""

import ast
from pathlib import Path

CLIPCORE = Path(__file__).parent.parent / "clipcore"
ROOMS = [
    *("labels", "data", "identical", "config", "preflight", "finetune", "events", "evaluate", "zero_shot", "losses/__init__"),
    *("losses/info_nce", "losses/decoupled", "losses/hn_nce", "losses/debiased", "losses/global_contrast"),
    *("losses/sigmoid", "losses/hinge", "logits", "lse", "gradcache", "distributed", "batching", "assemble"),
    *("tables", "shards", "pictures", "pixels", "ahead", "embedding_cache", "towers", "learner", "adapter", "lora", "optimiser", "step", "weights", "best", "look", "checkpoint", "hub", "convert"),
]  # fmt: skip


def main() -> None:
    """Replaces docs/api.md."""
    (Path(__file__).parent / "api.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The page: one section a module, one entry a public name."""
    parts = ["# clipcore: reference\n\nMade by `python docs/make_api.py` from the docstrings; do not edit.\n"]
    for room in ROOMS:
        module = ast.parse((CLIPCORE / f"{room}.py").read_text(encoding="utf-8"))
        name = room.removesuffix("/__init__").replace("/", ".")
        parts.append(f"\n## clipcore.{name}\n\n{ast.get_docstring(module)}\n")
        parts += [_entry(node) for node in module.body if _is_public(node)]
    return "".join(parts)


def _is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")


def _entry(node: ast.stmt) -> str:
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    head = f"\n### {node.name}\n\n"
    if isinstance(node, ast.FunctionDef):
        return f"{head}`{node.name}{_signature(node)}`\n\n{ast.get_docstring(node) or ''}\n"
    text = f"{head}{ast.get_docstring(node) or ''}\n"
    fields = [ast.unparse(line) for line in node.body if isinstance(line, ast.AnnAssign)]
    text += "".join(f"\n- `{line}`" for line in fields) + ("\n" if fields else "")
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or _is_public(method)):
            first = (ast.get_docstring(method) or "").split("\n\n")[0].replace("\n", " ")
            text += f"\n- `{method.name}{_signature(method)}` {first}".rstrip() + "\n"
    return text


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


if __name__ == "__main__":
    main()
