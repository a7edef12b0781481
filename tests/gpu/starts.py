"""What the start of a features job consists of, weights from a file as in earnest, stage by stage.

Each encoder starts in a process of its own with one thread, as a rule starts it. CLIP's job is then
run whole, on a shard as large as one of LLP's.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def start(began: float, values: str) -> None:
    """Start an encoder as the stage does, and print the seconds of each part of it."""
    stages: dict[str, float] = {}
    last = began

    def watch(stage: str) -> None:
        nonlocal last
        now = time.time()
        stages[stage], last = now - last, now

    watch("python")
    import torch

    watch("import torch")
    from importlib import import_module

    from pipeline.core.vocabulary import read_vocabulary
    from pipeline.features.encoders import base, weights
    from pipeline.features.encoders.options import encoder_options
    from pipeline.features.encoders.tokenizer import stand_in_tokenizer

    watch("import the stage")
    given = json.loads(values)
    name, device = given.pop("encoder"), torch.device(given.pop("device"))
    spec = encoder_options(name, **given)
    module: Any = import_module(f"pipeline.features.encoders.{name}")
    if name == "clap":
        import transformers

        _ = transformers.ClapModel
        # RoBERTa's table is not at hand.
        module._tokenizer = lambda _spec, config: (
            stand_in_tokenizer(config.vocab_size, config.max_position_embeddings - 2),
            {},
        )
    watch("import the encoder")
    weights.read_weights(spec.weights_path, spec.sha256)
    watch("check and read the file, once more")
    torch.zeros(1, device=device)
    watch("open the card")
    encoder = module.load(spec, base.Runner(device, spec.precision, 320))
    watch("build, read, to the card")
    base.prove_captions(encoder, read_vocabulary().captions(spec.modality))
    watch("captions")
    from bench_encode import segments_of

    segments = segments_of(encoder, 2 if os.environ.get("REHEARSAL") else 32)
    watch("segments made up")
    encoder.embed(segments)
    watch("first batch")
    encoder.embed(segments)
    watch("second batch")
    print(json.dumps(stages))


def main() -> None:
    """Write a row for each encoder's start, and one of CLIP's whole job."""
    from harness import device, rows_of_part
    from whole import specs_in

    rows = rows_of_part()
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        folder = Path(temporary)
        specs = specs_in(folder)
        for spec in specs:
            with rows.attempt(spec.encoder):
                fields = {"backend", "model", "weights", "sha256", "precision"}
                values = spec.model_dump(include=fields, exclude_none=True)
                values |= {"encoder": spec.encoder, "device": str(device())}
                began = time.time()
                words = [sys.executable, __file__, "start", str(began), json.dumps(values)]
                threads = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run(words, env=threads, capture_output=True, text=True)
                print(done.stderr[-2000:], flush=True)
                stages = json.loads(done.stdout.splitlines()[-1])
                rows.add(f"start, {spec.encoder}", seconds=sum(stages.values()), of_them=stages)
        with rows.attempt("job"):
            job(rows, specs, folder)


def job(rows: Any, specs: Any, folder: Path) -> None:
    """Write the row of CLIP's command on a shard that is there."""
    from types import SimpleNamespace

    import numpy as np
    from bench_encode import T, write_segments
    from harness import REHEARSAL
    from whole import Bench, encode

    videos, side = (4, 64) if REHEARSAL else (183, 224)
    segments = np.zeros((videos, T, 1, side, side, 3), dtype=np.uint8)
    places: Any = write_segments(SimpleNamespace(source="frames"), segments, folder)  # type: ignore[arg-type]
    places[0].rename(folder / "1-of-1.safetensors")
    places[1].rename(folder / "1-of-1.status.tsv")
    encode(rows, Bench(folder, specs), [specs[0]], "1-of-1", videos)


if __name__ == "__main__":
    if sys.argv[1] == "start":
        start(float(sys.argv[2]), sys.argv[3])
    else:
        main()
