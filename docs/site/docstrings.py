"""Docstrings in Markdown, as Hugging Face's libraries write them, turned into reStructuredText, which Sphinx reads.

This module needs nothing but Python.
"""

import re


SECTIONS = {
    "Args": ("param", "type"),
    "Parameters": ("param", "type"),
    "Attributes": ("ivar", "vartype"),
    "Returns": ("returns", None),
    "Yields": ("yields", None),
    "Raises": ("raises", None),
    "Example": (None, None),
}
ARGUMENT = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \((.+)\))?:(?: (.*))?$")
RAISED = re.compile(r"^\[?`?([\w.]+)`?\]?: (.*)$")
# What stands in a sentence: a formula, a link, a name in brackets, code. All else is text.
INLINE = re.compile(
    r"\\\\\((?P<math>.+?)\\\\\)"
    r"|\[(?P<text>[^\]\[]+)\]\((?P<address>[^)\s]+)\)"
    r"|\[`(?P<name>[~\w.]+)`\]"
    r"|(?P<ticks>`+)(?P<code>.+?)(?P=ticks)",
    flags=re.DOTALL,
)


def convert_docstring(lines: list[str]) -> list[str]:
    """Turn the lines of a docstring into those of reStructuredText."""
    converted: list[str] = []
    for title, body in split_sections(lines):
        if title is None:
            converted += convert_text(body)
        elif title == "Example":
            converted += ["", ".. rubric:: Example", "", *convert_text(dedent(body))]
        elif title.startswith("> "):
            converted += ["", f".. rubric:: {convert_inline(title[2:])}", ""]
            converted += convert_section("Parameters", dedent(body))
        else:
            converted += ["", *convert_section(title, dedent(body))]
    return [*converted, ""]


def split_sections(lines: list[str]) -> list[tuple[str | None, list[str]]]:
    """Split a docstring at its headings, such as `Args:`. A line `> ...` in a list of arguments begins another list."""
    sections: list[tuple[str | None, list[str]]] = [(None, [])]
    for line in lines:
        heading = line.strip()
        if line.endswith(":") and line[:-1] in SECTIONS:
            sections.append((line[:-1], []))
        elif heading.startswith("> ") and sections[-1][0] in ("Args", "Parameters"):
            sections.append((heading, []))
        else:
            sections[-1][1].append(line)
    return sections


def dedent(lines: list[str]) -> list[str]:
    """Remove the indentation that all lines share."""
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[depth:] for line in lines]


def convert_section(title: str, lines: list[str]) -> list[str]:
    """Turn a section into a list of fields."""
    field, type_field = SECTIONS[title]
    converted: list[str] = []
    for head, body in split_entries(title, lines):
        names, text = [""], head
        if title == "Raises" and (match := RAISED.match(head)):
            names, text = [f" {match[1]}"], match[2]
        elif type_field:
            match = ARGUMENT.match(head)
            if match is None:
                converted += ["", *convert_text([head, *dedent(body)]), ""]
                continue
            # Sphinx takes the first of two names for a type, so each gets a field of its own.
            names, text = [" " + name.replace("*", r"\*") for name in match[1].split(", ")], match[3] or ""
            if match[2]:
                converted += [f":{type_field}{name}: {convert_inline(match[2])}" for name in names]
        content = convert_text([text, *dedent(body)] if text else dedent(body)) or [""]
        for name in names:
            converted.append(f":{field}{name}: {content[0]}")
            converted += [f"    {line}" if line else "" for line in content[1:]]
    return converted


def split_entries(title: str, lines: list[str]) -> list[tuple[str, list[str]]]:
    """
    Split a section at its lines without indentation.

    A section of what is returned is one entry, and an error begins with its name: other lines go on with the entry.
    """
    entries: list[tuple[str, list[str]]] = []
    for line in lines:
        goes_on = bool(entries) and (
            SECTIONS[title][0] in ("returns", "yields") or title == "Raises" and not RAISED.match(line)
        )
        if line and not line[0].isspace() and not goes_on:
            entries.append((line, []))
        elif entries:
            entries[-1][1].append(line)
    return entries


def convert_text(lines: list[str]) -> list[str]:
    """Turn paragraphs, lists, formulas and blocks of code."""
    converted: list[str] = []
    for kind, block in split_blocks(lines):
        if kind == "text":
            converted += separate_lists(convert_inline("\n".join(block)).split("\n"))
        else:
            directive = "math::" if kind == "math" else f"code-block:: {kind}"
            converted += ["", f".. {directive}", "", *(f"    {line}" for line in dedent(block)), ""]
    while converted and not converted[0].strip():
        converted.pop(0)
    while converted and not converted[-1].strip():
        converted.pop()
    return converted


def split_blocks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Split lines into text, formulas between `$$`, and code between fences."""
    blocks: list[tuple[str, list[str]]] = [("text", [])]
    end = ""
    for line in lines:
        text = line.strip()
        if end:
            inner, closed = (text.removesuffix(end), text.endswith(end)) if end == "$$" else (line, text == end)
            if not closed or (end == "$$" and inner):
                blocks[-1][1].append(inner)
            if closed:
                end = ""
                blocks.append(("text", []))
        elif text.startswith("```"):
            end = "```"
            blocks.append((text[3:] or "text", []))
        elif text.startswith("$$"):
            inner = text[2:].removesuffix("$$").strip()
            blocks.append(("math", [inner] if inner else []))
            if len(text) > 2 and text.endswith("$$"):
                blocks.append(("text", []))
            else:
                end = "$$"
        elif line.startswith("    ") and _may_begin_code(*blocks[-1]):
            blocks.append(("indented", [line]))
        elif blocks[-1][0] == "indented" and line and not line.startswith("    "):
            blocks.append(("text", [line]))
        else:
            blocks[-1][1].append(line)
    return [(_name(kind, block), block) for kind, block in blocks if any(line.strip() for line in block)]


def _may_begin_code(kind: str, block: list[str]) -> bool:
    """Code without fences is indented, behind an empty line, and is not part of a list."""
    is_list = any(re.match(r"\s*(-|\d+\.) ", line) for line in block)
    return kind == "text" and bool(block) and not block[-1].strip() and not is_list


def _name(kind: str, block: list[str]) -> str:
    kind = "python" if kind == "indented" else kind
    return "pycon" if kind == "python" and any(line.lstrip().startswith(">>>") for line in block) else kind


def separate_lists(lines: list[str]) -> list[str]:
    """Put an empty line before and after a list, which Markdown does not need."""
    separated: list[str] = []
    is_item = False
    for line in lines:
        begins = bool(re.match(r"\s*(-|\d+\.) ", line))
        ends = is_item and not begins and bool(line.strip()) and not line.startswith(" ")
        if separated and separated[-1].strip() and ((begins and not is_item) or ends):
            separated.append("")
        is_item = begins or (is_item and not ends)
        separated.append(line)
    return separated


def convert_inline(text: str) -> str:
    """Turn formulas, links, names and code of a text, and escape what would mean something else."""
    parts: list[str] = []
    end = 0
    for match in INLINE.finditer(text):
        parts.append(escape(text[end : match.start()]))
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        parts += ["\\ " if before.isalnum() else "", _convert(match), "\\ " if after.isalnum() else ""]
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def _convert(match: re.Match[str]) -> str:
    if match["math"]:
        return f":math:`{match['math'].strip()}`"
    if match["address"]:
        return f"`{match['text'].strip('`')} <{match['address']}>`__"
    if match["name"]:
        return f":py:obj:`{match['name']}`"
    return f"``{match['code']}``"


def escape(text: str) -> str:
    r"""Escape bars, backslashes and underscores behind a word. Emphasis (`*optional*`) is the same in both languages."""
    text = text.replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", text)
