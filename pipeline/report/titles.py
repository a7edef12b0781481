"""Titles of the report's pages and tables: what they show, the dataset, and the date."""

from collections.abc import Iterable
from datetime import date

from pipeline.features.encoders.identity import encoder_notice, encoder_text
from pipeline.report.trained import Encoders

LLP = "llp"
UNKNOWN_DATASET = "other"


def run_title(what: str, dataset: str) -> str:
    """Return a title such as ``Run report: demo, 2026-11-27``; an unnamed dataset is left out."""
    named = [] if dataset in ("", UNKNOWN_DATASET) else [dataset]
    return f"{what}: {', '.join([*named, date.today().isoformat()])}"


def encoders_of(parsers: Iterable[Encoders]) -> Encoders:
    """Return the identity of each encoder that parsers rest on, as far as it is recorded."""
    return {name: identity for encoders in parsers for name, identity in encoders.items()}


def encoder_lines(encoders: Encoders) -> list[str]:
    """Return what a page or table says of its encoders: the notice, if any, and what they are."""
    notice = encoder_notice(encoders)
    named = "; ".join(f"{name}: {encoder_text(each)}" for name, each in sorted(encoders.items()))
    return [*([notice] if notice else []), *([f"Encoders: {named}."] if named else [])]
