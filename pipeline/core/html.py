"""Self-contained HTML pages: templates, and the styles, scripts and data embedded in them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.wording import counted


def render(template: Path, context: Mapping[str, Any], **filters: Any) -> str:
    """Return a page; every value that is not ``Markup`` is escaped."""
    templates = environment(template.parent)
    templates.filters.update(filters)
    return templates.get_template(template.name).render(context)


def environment(folder: Path, autoescape: bool = True) -> Environment:
    """Return the templates of a folder; only HTML needs its values escaped."""
    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["counted"] = counted
    return templates


def style(*paths: Path) -> Markup:
    """Concatenate all pages' style sheet and these; later ones override earlier ones."""
    return Markup(_concatenated("page.css", paths))


def script_and_hash(*paths: Path) -> tuple[Markup, str]:
    """Concatenate all pages' script and these; add the hash for the Content-Security-Policy."""
    script = _concatenated("page.js", paths)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup(script), f"sha256-{digest}"


def _concatenated(shared: str, paths: Sequence[Path]) -> str:
    files = [Path(__file__).with_name(shared), *paths]
    return "".join(path.read_text(encoding="utf-8") for path in files)


def as_json(value: object) -> Markup:
    """Return a value as JSON that cannot close the script element around it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
