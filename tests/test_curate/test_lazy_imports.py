"""An import stands at the top of its file, unless what it loads is heavy or a comment says why not."""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "transformers", "faiss", "ray", "duckdb", "polars", "pyarrow", "datasets", "sklearn",
    "pandas", "scipy", "sentence_transformers", "accelerate", "peft", "typer", "rich", "pydantic",
    "yaml", "huggingface_hub", "tokenizers", "safetensors", "IPython", "starlette", "uvicorn", "flaml",
    "jinja2", "pynvml", "triton", "trl", "datasketch", "py3langid", "math_verify",
    "bitsandbytes", "liger_kernel", "cut_cross_entropy", "vllm",
}  # fmt: skip
FACADES = {"curate", "curate.store"}  # their names load what is behind them at their first use
MARK = "# lazy:"  # and the reason, on the line of the import


def library() -> dict[str, str]:
    """Return the source of every module of both packages by name."""
    packages = (ROOT / "curate", ROOT / "selectors" / "curate_selectors")
    return {
        ".".join(path.relative_to(base.parent).with_suffix("").parts).removesuffix(".__init__"):
            path.read_text(encoding="utf-8")
        for base in packages
        for path in base.rglob("*.py")
    }  # fmt: skip


def statements(source: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield every import that runs, and whether it stands inside a function."""

    def below(node: ast.AST, inside: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child, inside
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from below(child, inside or function)

    yield from below(ast.parse(source), False)


def targets(node: ast.Import | ast.ImportFrom, modules: Mapping[str, str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    names = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in modules else str(node.module) for name in names]


def is_heavy(name: str, loaders: set[str]) -> bool:
    return name.split(".")[0] in HEAVY or name in FACADES or name in loaders


def heavy_modules(modules: Mapping[str, str]) -> set[str]:
    """Return the modules whose import alone loads something heavy, directly or by way of others."""
    tops = {
        name: [t for node, inside in statements(text) if not inside for t in targets(node, modules)]
        for name, text in modules.items()
    }
    loaders: set[str] = set()
    while more := {
        name for name in tops.keys() - loaders if any(is_heavy(t, loaders) for t in tops[name])
    }:
        loaders |= more
    return loaders


def light_imports_in_functions(modules: Mapping[str, str]) -> list[str]:
    loaders = heavy_modules(modules)
    found = []
    for name, text in modules.items():
        lines = text.splitlines()
        for node, inside in statements(text):
            explained = MARK in "".join(lines[node.lineno - 1 : node.end_lineno])
            loaded = targets(node, modules)
            if inside and not explained and not any(is_heavy(one, loaders) for one in loaded):
                found.append(f"{name}:{node.lineno} imports {', '.join(loaded)}")
    return found


def test_an_import_inside_a_function_is_heavy_or_says_why():
    assert light_imports_in_functions(library()) == []


def test_what_is_found_and_what_is_not():
    modules = {
        "made_up.light": "",
        "made_up.heavy": "import torch",
        "made_up.by_way": "from made_up import heavy",
        "made_up.user": textwrap.dedent(
            """
            def f():
                import json
                import torch
                from made_up.by_way import g
                from made_up.light import h
                from made_up.light import k  # lazy: the reason
            """
        ),
    }
    assert light_imports_in_functions(modules) == [
        "made_up.user:3 imports json",
        "made_up.user:6 imports made_up.light",
    ]
