"""What the modules of a package import, read from their source: also inside functions, relative or absolute."""

import ast
from pathlib import Path


def read_modules(package: Path) -> dict[str, Path]:
    """Return the file of each module of a package, by its full name; a folder's name stands for its `__init__`."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        modules[".".join(parts[:-1] if path.stem == "__init__" else parts)] = path
    return modules


def read_imports(package: Path) -> dict[str, set[str]]:
    """Return the full names of the modules that each module imports, those of other packages too.

    `from package import __version__` is left out: it takes a string, and no module.
    """
    modules = read_modules(package)
    return {name: find_imports(name, path, set(modules)) for name, path in modules.items()}


def find_imports(name: str, path: Path, modules: set[str]) -> set[str]:
    found = set()
    folder = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) + 1 - node.level] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{source}.{alias.name}" in modules:
                    found.add(f"{source}.{alias.name}")
                elif not (alias.name == "__version__" and source == name.split(".")[0]):
                    found.add(source)
    return found


def name_part(module: str) -> str:
    """Return the folder or the file at the root of the package that a module belongs to: `card` of `package.card.x`."""
    return (module.split(".") + ["__init__"])[1]


def find_forbidden(imports: dict[str, set[str]], may_import: dict[str, set[str]]) -> list[str]:
    """Return a sentence for each import of a part that the importing part may not import."""
    package = next(iter(imports)).split(".")[0]
    return [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if other.split(".")[0] == package
        and name_part(other) not in may_import.get(name_part(module), set()) | {name_part(module)}
    ]


def find_cycle(imports: dict[str, set[str]]) -> list[str]:
    """Return modules each of which imports the next, the last one the first; an empty list where there are none.

    A folder's `__init__` runs before each module in it: who imports the module from outside the folder imports both.
    """
    edges = {name: {other for other in others if other in imports} for name, others in imports.items()}
    for name, others in edges.items():
        for other in set(others):
            parents = [other.rsplit(".", count)[0] for count in range(1, other.count(".") + 1)]
            others |= {parent for parent in parents if not f"{name}.".startswith(f"{parent}.")}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name not in done:
            for other in sorted(edges[name]):
                if cycle := visit(other, [*path, name]):
                    return cycle
            done.add(name)
        return []

    return next((cycle for name in edges if (cycle := visit(name, []))), [])
