"""Ablation table: variants of one method, trained on the same data and compared side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_csv, write_text
from pipeline.data.annotations import SPLIT_TABLES, read_names
from pipeline.features.encoders.identity import encoder_notice
from pipeline.parsers.checkpoint import read_checkpoint
from pipeline.parsers.link_ablation import components
from pipeline.parsers.recipes import Recipe
from pipeline.report.comparable import SPLIT, read_comparable, seed_mismatch_note
from pipeline.report.comparison.leaderboard import megas
from pipeline.report.tables import (
    HOW_MARKED,
    METRIC_HEADER,
    ResultRow,
    aligned_markdown,
    csv_table,
    marked_rows,
    marked_texts,
    parser_row,
    with_notes,
)
from pipeline.report.titles import UNKNOWN_DATASET, encoder_lines, encoders_of, run_title
from pipeline.report.trained import TrainedParser

HOW_SCORED = (
    "F1 in percent on the test split, mean ± sample standard deviation over seeds. A ✓ marks the "
    "components in use; S-LOSS is L_label plus L_avss. All variants share the same training data "
    f"and checkpoint selection. {HOW_MARKED}"
)


@dataclass(frozen=True)
class Variant:
    """One row of the ablation.

    Attributes
    ----------
    row
        Its scores over seeds.
    recipe
        Its recipe.
    parameters
        Number of trainable parameters.
    """

    row: ResultRow
    recipe: Recipe
    parameters: int

    @property
    def changes(self) -> str:
        """Options that differ from the method's defaults, as ``option=value`` text."""
        changed = self.recipe.model_dump(exclude_defaults=True)
        return ", ".join(f"{option}={value}" for option, value in changed.items())


def write_ablation(
    folders: Iterable[Path], annotations: Path, out: Path, dataset: str = UNKNOWN_DATASET
) -> str:
    """Write ablation.md and ablation.csv; return the table as text.

    Parameters
    ----------
    folders
        Evaluated model folders ``{variant}/seed{S}``, in the order of the rows. A variant gets a
        note if its seeds differ from those of the first.
    annotations
        Folder of the annotation tables.
    out
        Output folder.
    dataset
        Name of the dataset, for the title.

    Raises
    ------
    PipelineError
        A file is missing or malformed, the parsers are not of one method, or the variants are not
        comparable (``read_comparable``).
    """
    total = len(read_names(annotations / SPLIT_TABLES[SPLIT]))
    trained = list(read_comparable(folders, are_variants=True).values())
    _require_one_method(trained)
    variants = [_variant(parsers, trained[0], total) for parsers in trained]
    names = list(components(variants[0].recipe))
    table = _table(names, variants)
    changes = [f"- {variant.row.name}: {variant.changes or 'nothing'}" for variant in variants]
    encoders = encoders_of(parser.encoders for parsers in trained for parser in parsers)
    title = f"# {run_title('Ablation', dataset)}"
    parts = [title, *encoder_lines(encoders), HOW_SCORED, _how_labelled(variants), table]
    parts += ["## Changes from the method's defaults", "\n".join(changes)]
    write_text(out / "ablation.md", "\n\n".join(parts) + "\n")
    rows_of_variants = (variant.row for variant in variants)
    header, rows = csv_table(rows_of_variants, encoder_notice(encoders))
    header += [*names, "parameters", "changes"]
    for row, variant in zip(rows, variants, strict=True):
        row += [int(present) for present in components(variant.recipe).values()]
        row += [variant.parameters, variant.changes]
    write_csv(out / "ablation.csv", ["variant", *header[1:]], rows)
    return table


def _how_labelled(variants: Sequence[Variant]) -> str:
    """Return the labels that all variants, or each of them, learn from."""
    labels = {variant.row.name: variant.row.labels for variant in variants}
    if len(set(labels.values())) == 1:
        return f"Labels: {variants[0].row.labels}."
    return "\n".join(f"- Labels of {name}: {used}." for name, used in labels.items())


def _require_one_method(trained: Sequence[Sequence[TrainedParser]]) -> None:
    methods = sorted({parser.method for parsers in trained for parser in parsers})
    if len(methods) > 1:
        raise PipelineError(
            f"the parsers are of {', '.join(methods)}, but an ablation compares variants of one"
            " method; use compare for several methods."
        )


def _variant(
    parsers: Sequence[TrainedParser], first: Sequence[TrainedParser], total: int
) -> Variant:
    return Variant(
        row=parser_row(parsers, SPLIT, total, seed_mismatch_note(parsers, first)),
        recipe=parsers[0].recipe,
        parameters=read_checkpoint(parsers[0].folder).build().parameter_count(),
    )


def _table(names: Sequence[str], variants: Sequence[Variant]) -> str:
    header = ["Variant", *names, "Seeds", "Videos", "Parameters", *METRIC_HEADER]
    marked = marked_rows([variant.row for variant in variants])
    body = [
        [
            variant.row.name,
            *("✓" if present else "–" for present in components(variant.recipe).values()),
            str(variant.row.seeds),
            variant.row.coverage,
            megas(variant.parameters),
            *marked_texts(variant.row.cells, marks),
        ]
        for variant, marks in zip(variants, marked, strict=True)
    ]
    table = aligned_markdown(header, body, text_columns=1)
    return with_notes(table, [(variant.row.name, variant.row.note) for variant in variants])
