"""What results say of the encoders they rest on, and which encoders make them meaningless.

An identity is what ``EncoderOptions.identity`` returns: ``backend``, ``model`` and ``weights``.
Cached features have it in their metadata, from where checkpoints and reports take it.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from pipeline.core.files import RESOURCES, sha256_of

Identity = Mapping[str, str]

# Keys of the metadata of cached features that name an encoder.
KEYS = ("backend", "model", "weights", "weights_sha256")
# Digits that a page shows of a checksum.
SHORT_DIGITS = 12

_SHA256 = re.compile(r"[0-9a-f]{64}")


def identity_in(meta: Mapping[str, str]) -> dict[str, str]:
    """Return the encoder's identity in the metadata of cached features, empty if it has none."""
    return {key: meta[key] for key in KEYS if key in meta} if "weights" in meta else {}


def short_digest(digest: str) -> str:
    """Return a shortened SHA-256; ``random:SEED`` and a Hub reference are returned unchanged."""
    return f"sha256 {digest[:SHORT_DIGITS]}" if _SHA256.fullmatch(digest) else digest


def encoder_text(identity: Identity) -> str:
    """Return an encoder's backend, model and weights for a page or table."""
    name = " ".join(identity[key] for key in ("backend", "model") if key in identity)
    weights = f"weights {short_digest(identity['weights'])}"
    if "weights_sha256" in identity:
        weights += f" ({short_digest(identity['weights_sha256'])})"
    return ", ".join(filter(None, [name, weights]))


def encoder_notice(encoders: Mapping[str, Identity]) -> str:
    """Return what must be said of results that rest on these encoders, or an empty string.

    Random weights and the demo's small encoders know nothing of real videos.

    Parameters
    ----------
    encoders
        Encoder to its identity.
    """
    kinds = {name: _kind(identity.get("weights", "")) for name, identity in encoders.items()}
    random, demo = ([name for name, kind in kinds.items() if kind == each] for each in _KINDS)
    sentences = []
    if random:
        sentences.append(
            f"{_listed(random)} {'has' if len(random) == 1 else 'have'} random weights, so these"
            " results are meaningless and only show that the pipeline runs."
        )
    if demo:
        sentences.append(
            f"{_listed(demo)} {'is a toy encoder' if len(demo) == 1 else 'are toy encoders'} of the"
            " demo, trained on synthetic pictures and sounds, so these results say nothing about"
            " real videos."
        )
    return " ".join(sentences)


_KINDS = ("random", "demo")


def _kind(weights: str) -> str:
    """Return ``random``, ``demo`` or an empty string for what names an encoder's weights."""
    if weights == "random" or weights.startswith("random:"):
        return "random"
    return "demo" if weights in _demo_digests() else ""


@cache
def _demo_digests() -> frozenset[str]:
    weights = (RESOURCES / "demo_encoders").rglob("*.safetensors")
    return frozenset(sha256_of(path) for path in weights)


def _listed(names: Iterable[str]) -> str:
    return " and ".join(name.upper() if name.startswith("cl") else name for name in names)
