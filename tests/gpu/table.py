"""The report as Markdown: what it ran on, and a table a part."""

from typing import Any


def markdown(found: dict[str, Any]) -> str:
    """Return the whole report."""
    title = "# Rehearsal with small models" if found["is_rehearsal"] else "# On a GPU"
    lines = [title, "", *(f"- {key}: {value}" for key, value in found["machine"].items()), ""]
    for name, entry in found["parts"].items():
        lines += part_lines(name, entry)
    return "\n".join(lines) + "\n"


def part_lines(name: str, entry: dict[str, Any]) -> list[str]:
    """Return a part's heading, its table, and the end of its log if it did not end well."""
    took = f", {entry['seconds']} s" if "seconds" in entry else ""
    lines = [f"## {name}: {entry['about']}", "", f"{entry['state']}{took}", ""]
    lines += table_lines(entry["rows"])
    if "end_of_log" in entry:
        lines += ["```", *entry["end_of_log"], "```", ""]
    return lines


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a table with every column that a row has, in the order in which they come up."""
    if not rows:
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [cells(columns), cells(["---"] * len(columns))]
    lines += [cells([shown(row.get(column, "")) for column in columns]) for row in rows]
    return [*lines, ""]


def cells(values: list[str]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(values)} |"


def shown(value: object) -> str:
    """Return a value with four digits at most, on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(each)}" for key, each in value.items())
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return " ".join(str(value).replace("|", "/").split())
