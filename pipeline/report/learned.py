"""Plot interpretable weights of LINK: the gates of CMIM, μ, and TSAM's segment weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.shards import read_shard
from pipeline.core.vocabulary import MODALITIES
from pipeline.data.annotations import Labels
from pipeline.report.artifacts import Artifacts
from pipeline.report.drawing import (
    COLOURS,
    INK,
    LABELS_MARK,
    MODALITY_TITLES,
    PARSER_MARK,
    ROW_INCHES,
    Plot,
    finish_rows,
    legend_above,
    mark_keys,
    new_figure,
    plot_style,
    seeds,
    to_svg,
)
from pipeline.report.tables import cell
from pipeline.report.trained import TrainedParser, read_checkpoint_header

# Modality updated by CMIM to the name of the direction.
DIRECTIONS = {"audio": "visual to audio", "visual": "audio to visual"}


@dataclass(frozen=True)
class Gate:
    """A scalar weight of LINK.

    Attributes
    ----------
    name
        Display name.
    start, learned
        Value before and after training; for channel-wise gates, the mean.
    """

    name: str
    start: float
    learned: float


def learned_plots(artifacts: Artifacts) -> list[Plot]:
    """Return the plots of LINK's gates and of its segment weights, if it has them."""
    parsers = interpretable(artifacts)
    gates = {parser.seed: read_gates(parser.folder) for parser in parsers}
    plots = [_gates_plot(parsers[0], gates)] if any(gates.values()) else []
    weights = [read_attention(parser.folder) for parser in parsers]
    known = [attention for attention in weights if attention is not None]
    if known:
        truth = artifacts.predictions(parsers, "test")[0].truth
        plots.append(_attention_plot(truth, known))
    return plots


def interpretable(artifacts: Artifacts) -> Sequence[TrainedParser]:
    """Return the seeds of the method whose weights are shown, LINK; empty without it."""
    return artifacts.parsers.get("link", ())


def read_gates(folder: Path) -> list[Gate]:
    """Return α, β and α β of both directions of CMIM, and μ; an empty list for other methods.

    For scalar gates, only the product α β matters (docs/methods/link.md).

    Raises
    ------
    PipelineError
        The checkpoint is missing or invalid.
    """
    names = [f"{modality}_cmim.{gate}" for modality in MODALITIES for gate in ("alpha", "beta")]
    header, weights = read_checkpoint_header(folder, [*names, "mu"])
    recipe, gates = header["recipe"], []
    for modality, direction in DIRECTIONS.items():
        if f"{modality}_cmim.alpha" in weights:
            alpha, beta = (weights[f"{modality}_cmim.{gate}"] for gate in ("alpha", "beta"))
            starts = recipe["cmim_alpha"], recipe["cmim_beta"]
            gates += [
                Gate(f"α, {direction}", starts[0], float(alpha.mean())),
                Gate(f"β, {direction}", starts[1], float(beta.mean())),
                Gate(f"α β, {direction}", starts[0] * starts[1], float((alpha * beta).mean())),
            ]
    if "mu" in weights:
        gates.append(Gate("μ of L_avss", recipe["mu_initial"], float(weights["mu"])))
    return gates


def read_attention(folder: Path) -> NDArray[np.float32] | None:
    """Return the segment weights ``[N, 2, T]`` on the test split; None for other methods."""
    return read_shard(folder / "probabilities_test.safetensors").arrays.get("attention")


def mean_attention(
    attention: NDArray[np.float32], has_event: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean weight of segments with and without an event.

    Parameters
    ----------
    attention : ``[N, T]``
        Segment weights.
    has_event : ``[N, T]``
        Whether the segment has an annotated event.

    Returns
    -------
    ndarray ``[2, T]``
        Means with and without an event; NaN where no video has such a segment.
    """
    masks = np.stack([has_event, ~has_event])
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = (attention * masks).sum(axis=1) / masks.sum(axis=1)
    return mean


def _gates_plot(parser: TrainedParser, gates: Mapping[int, Sequence[Gate]]) -> Plot:
    name, title = "learned_gates", f"Gates of {parser.display_name}: initial and learned values"
    first = next(iter(gates.values()))
    with plot_style():
        figure, [axes] = new_figure(0.8 + 1.3 * ROW_INCHES * len(first))
        axes.axvline(0, color=INK, linewidth=0.6, alpha=0.4)
        for index, gate in enumerate(first):
            axes.plot(gate.start, index, color=INK, **LABELS_MARK)
            for of_seed in gates.values():
                axes.plot(of_seed[index].learned, index, color=INK, alpha=0.8, **PARSER_MARK)
        finish_rows(axes, [gate.name for gate in first], percent=False)
        keys = {"initial": LABELS_MARK, "learned (one dot per seed)": PARSER_MARK}
        legend_above(figure, mark_keys(keys, INK))
        values = "; ".join(f"{gate.name} {gate.start:g} to {gate.learned:.3f}" for gate in first)
        description = f"{title}. First seed: {values}."
        svg = to_svg(figure, name, description)
    caption = (
        "Gate values (dimensionless) in the selected checkpoints. The product α β scales the "
        "cross-modal features that CMIM adds (eqs. 4-5); α and β have no separate effect. μ "
        "re-weights L_avss (eq. 11), whose gradient always moves it towards 1. Channel-wise gates "
        "are averaged."
    )
    rows = [
        [parser.method, seed, gate.name, gate.start, gate.learned]
        for seed, of_seed in gates.items()
        for gate in of_seed
    ]
    return Plot(
        name, title, caption, description, svg, ["method", "seed", "gate", "start", "learned"], rows
    )


def _attention_plot(truth: Labels, attentions: Sequence[NDArray[np.float32]]) -> Plot:
    name, title = "learned_attention", "TSAM segment weights on the test split"
    has_event = truth.any(axis=3)
    segments = truth.shape[2]
    means = [
        np.mean([mean_attention(each[:, row], has_event[row]) for each in attentions], axis=0)
        for row in range(len(MODALITIES))
    ]
    seconds = np.arange(segments) + 0.5
    with plot_style():
        figure, panels = new_figure(3.5, 2)
        for axes, modality, (inside, outside) in zip(panels, MODALITIES, means, strict=True):
            axes.plot(seconds, inside, "-", color=COLOURS[modality], linewidth=1.6)
            axes.plot(seconds, outside, ":", color=COLOURS[modality], linewidth=1.6)
            axes.set_title(MODALITY_TITLES[modality])
            axes.set_xlim(0, segments)
            axes.grid(axis="y")
        panels[-1].set_xlabel("seconds")
        description = f"{title}, with and without an annotated event. Data: {name}.csv."
        svg = to_svg(figure, name, description)
    caption = (
        "Mean weight in (0, 1) by which TSAM multiplies the features of each second (W in eq. 1, "
        "or S in eq. 2 for reading B), over test videos with (solid) and without (dotted) an "
        f"annotated event of that modality in that second; {seeds(len(attentions))}."
    )
    rows = [
        [
            modality,
            second,
            *map(cell, means[row][:, second]),
            int(has_event[row, :, second].sum()),
        ]
        for row, modality in enumerate(MODALITIES)
        for second in range(segments)
    ]
    header = ["modality", "second", "with_event", "without_event", "videos_with_event"]
    return Plot(name, title, caption, description, svg, header, rows)
