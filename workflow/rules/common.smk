# What every stage's rules need: the checked configuration, the files and folders whose names depend
# on it, and the functions that rules call. No rule stands here.
import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE))

from pipeline.data.annotations import EVENT_TABLES, SCORED_SPLITS, SPLIT_TABLES
from pipeline.config.models import parse_config
from pipeline.demo import CORPUS_VERSION
from pipeline.features.encoders.spec import MOTION_DECODING, EncoderSpec
from pipeline.core.errors import PipelineError
from pipeline.core.files import located
from pipeline.core.locks import hold, note_submission
from pipeline.data.manifest import ManifestSource
from pipeline.media.options import decoding_fingerprint
from pipeline.inference.input_files import folder_digest
from pipeline.inference.settings import settings_from_config
from pipeline.parsers.registry import PARSERS_VERSION, recipe_for
from pipeline.labels.pseudo_labels import LABELS_VERSION

# Rules run `python -m pipeline`: with this Snakemake's own Python (where a rule's conda environment
# is activated, that one comes first) and on this checkout, whatever the working directory.
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
)
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(BASE))}; ")


def demanded(function, *arguments, **keywords):
    """Call into the package; a person's mistake ends the parse with its one sentence."""
    try:
        return function(*arguments, **keywords)
    except PipelineError as error:
        raise WorkflowError(str(error)) from None


def from_base(path):
    """Return a path of the configuration; of a file that the package carries a relative one."""
    found = demanded(located, path)
    return os.path.relpath(found) if found != path else path


# Until this process ends; a run that was killed needs no --unlock, unless it submits its jobs.
if workflow.is_main_process:
    LOCK = demanded(hold, Path(".snakemake"))


onstart:
    if workflow.non_local_exec:
        note_submission(LOCK)


CONFIG = demanded(parse_config, config)
DATASET, DECODE = CONFIG.dataset, CONFIG.decode
IS_DEMO = DATASET.source == "demo"
VOCABULARY = from_base(DATASET.vocabulary)

# Sources. A folder of the user's is a leaf of the DAG and `ancient`: what counts is not its time
# stamp but the digest of each shard's own rows, so a new video touches its own shard and no other.
# What a rule makes (the demo, tables that are fetched) is an input like any other.
ANNOTATIONS = (
    "resources/demo/annotations"
    if IS_DEMO
    else DATASET.annotations or "resources/annotations"
)
VIDEOS = "resources/demo/videos" if IS_DEMO else DATASET.videos
SPLITS = [f"{ANNOTATIONS}/{name}" for name in SPLIT_TABLES.values()]
TABLES = SPLITS + [f"{ANNOTATIONS}/{name}" for name in EVENT_TABLES.values()]
LISTED = ancient(SPLITS) if DATASET.annotations else SPLITS
CLIPS = VIDEOS if IS_DEMO else ancient(VIDEOS)
SOURCES = ManifestSource(Path(ANNOTATIONS), Path(VIDEOS), DATASET.shards, DATASET.untrimmed)


def growing(amount):
    """Return memory or time that grows: a job that it did not suffice for gets more when retried."""
    return lambda wildcards, attempt: amount * attempt


def input_files(input, name):
    """Return an input's files; where it has but one, Snakemake may give that without a list."""
    files = input.get(name)
    return [files] if isinstance(files, str) else files


def folder_of(name, levels=1):
    """Return a function of params: the folder, so many levels up, of an input's first file."""
    return lambda wildcards, input: str(
        Path(input_files(input, name)[0]).parents[levels - 1]
    )


def folders_of(name):
    """Return a function of params: every folder that files of an input lie in, each once."""
    return lambda wildcards, input: list(
        dict.fromkeys(os.path.dirname(path) for path in input_files(input, name))
    )


def own_folder(levels=1):
    """Return a function of params: the folder, so many levels up, of the rule's first output."""
    return lambda wildcards, output: str(Path(output[0]).parents[levels - 1])


def unrecorded(value):
    """Return a param that may change with nothing made again: Snakemake keeps none of `threads`."""
    return lambda wildcards, threads: value


def shard_index(wildcards):
    """Return K of the scatter item K-of-N."""
    return int(wildcards.scatteritem.split("-of-")[0])


def shard_rows(wildcards):
    """Return what stands for a shard's videos: empty while the sources are not there.

    Where tables are fetched first, Snakemake asks again before the job, and records that answer. Of
    the demo, which a rule makes, nothing else needs to stand for it.
    """
    return "" if IS_DEMO else demanded(SOURCES.shard_digest, shard_index(wildcards))


def all_rows(wildcards):
    """Return what stands for the manifest."""
    return "" if IS_DEMO else demanded(SOURCES.digest)


def table_url(wildcards):
    """Return where an annotation table is downloaded from."""
    return table_source(wildcards).url


def table_sha256(wildcards):
    """Return the checksum of an annotation table."""
    return table_source(wildcards).sha256


def table_source(wildcards):
    """Return the configured download of an annotation table."""
    if wildcards.table not in DATASET.tables:
        raise WorkflowError(
            f"dataset.tables has no '{wildcards.table}'; name a folder in dataset.annotations,"
            " or give this table's url and sha256."
        )
    return DATASET.tables[wildcards.table]


def download_arguments(wildcards):
    """Return the folder that videos are downloaded into and how, for the command line."""
    if IS_DEMO:
        raise WorkflowError(
            "dataset.source is 'demo', which renders its own videos; nothing is downloaded."
        )
    folder = {"videos": VIDEOS, "untrimmed": DATASET.untrimmed}
    return command_words(folder | CONFIG.download.model_dump())


def parse_videos(wildcards):
    """Return the folder that is parsed."""
    if CONFIG.parse.videos is None:
        raise WorkflowError(
            "parse.videos names no folder; set it, or add --config parse='{videos: FOLDER}'."
        )
    return ancient(CONFIG.parse.videos)


def parse_digest(wildcards):
    """Return what stands for the files of that folder."""
    folder = Path(CONFIG.parse.videos or "")
    return demanded(folder_digest, folder) if folder.is_dir() else ""


def weights_url(wildcards):
    """Return where an encoder's weights are downloaded from."""
    url = getattr(CONFIG.encoders, wildcards.encoder).url
    if url is None:
        raise WorkflowError(
            f"the weights of encoders.{wildcards.encoder} are not there and no url is configured;"
            " put the file in its place or set url."
        )
    return url


def weights_sha256(wildcards):
    """Return the checksum of an encoder's weights."""
    return getattr(CONFIG.encoders, wildcards.encoder).sha256


def encoder_spec(name):
    """Return what decides an encoder's numbers, as the package wants it."""
    values = getattr(CONFIG.encoders, name).model_dump()
    paths = {key: values[key] for key in ("model", "weights", "tokenizer")}
    return EncoderSpec(
        encoder=name,
        **{key: values[key] for key in ("backend", "sha256", "precision", "storage")},
        **{key: from_base(path) for key, path in paths.items() if path},
    )


def decoding_of(name):
    """Return how an encoder's segments are decoded, as the package wants it."""
    decoding = DECODE.model_dump(exclude={"timeout_seconds"})
    decoding |= {"segments": DATASET.segments, "untrimmed": DATASET.untrimmed}
    return decoding | MOTION_DECODING if name == "motion" else decoding


def decoding_arguments(name):
    """Return how an encoder's segments are decoded, for the command line."""
    return command_words(decoding_of(name))


def command_words(values):
    """Return ``--key value`` words: of True the option alone, of False and None nothing."""
    options = []
    for key, value in values.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not None and value is not False:
            options += [option, str(value)]
    return shlex.join(options)


RUNNING_OPTIONS = {"batch_size", "channels_last", "compiled"}
ENCODERS = ["clip", "clap", *(["motion"] if CONFIG.encoders.motion else [])]
SPECS = {name: encoder_spec(name) for name in ENCODERS}
DECODINGS = {name: decoding_fingerprint(**decoding_of(name)) for name in ENCODERS}
FINGERPRINTS = {
    name: demanded(spec.fingerprint, DECODINGS[name]) for name, spec in SPECS.items()
}
FOLDERS = {name: f"results/features/{name}-{FINGERPRINTS[name]}" for name in SPECS}
SHARD = "{scatteritem}"
SEGMENTS = f"results/segments/{DECODINGS['clip']}/{SHARD}"


def feature_shards(name):
    """Return every feature shard of an encoder."""
    return gather.shard(f"{FOLDERS[name]}/{{scatteritem}}.safetensors")


def status_tables():
    """Return every status table of every encoder."""
    return [
        path
        for folder in FOLDERS.values()
        for path in gather.shard(f"{folder}/{{scatteritem}}.status.tsv")
    ]


def weights_of(name):
    """Return the files that an encoder is loaded from, as inputs of its rules."""
    spec = SPECS[name]
    return [spec.weights] if spec.random_seed is None else []


def tokenizer_of(name):
    """Return a function of input: the files of an encoder's tokenizer."""
    return lambda wildcards: [
        str(path) for path in demanded(lambda: SPECS[name].tokenizer_files)
    ]


def encoder_arguments(name):
    """Return what decides an encoder's numbers, for the command line."""
    return command_words(asdict(SPECS[name]))


def running_arguments(name):
    """Return how an encoder runs, for the command line; its numbers are the same."""
    encoder = getattr(CONFIG.encoders, name)
    return unrecorded(command_words(encoder.model_dump(include=RUNNING_OPTIONS)))


def deciding(settings):
    """Return a configuration's or a setup's values, without those that only say how a job runs."""
    encoders = dict.fromkeys(ENCODERS, RUNNING_OPTIONS)
    return settings.model_dump(
        mode="json",
        exclude={"decode": {"timeout_seconds"}, "encoders": encoders},
    )


def run_settings(configuration):
    """Return what provenance.json says of configuration, recipes and weights, as JSON."""
    weights = {
        name: {"file": spec.weights, "sha256": demanded(lambda: spec.weights_identity)}
        for name, spec in SPECS.items()
    }
    recipes = {
        name: recipe_for(run.method, run.options).model_dump(mode="json")
        for name, run in CONFIG.runs.items()
        if name.startswith("models/")
    }
    return json.dumps(
        {"configuration": configuration, "recipes": recipes, "weights": weights}
    )


def method_of(wildcards):
    """Return the method that a run trains."""
    return CONFIG.runs[wildcards.run].method


def method_options(wildcards):
    """Return what a run changes of its method's recipe, as ``--option key=value`` words."""
    options = CONFIG.runs[wildcards.run].options
    return shlex.join(
        word
        for key, value in options.items()
        for word in ("--option", f"{key}={value}")
    )


def feature_arguments(wildcards, input):
    """Return the cached features' part of the command line."""
    names = {name: Path(folder).name for name, folder in FOLDERS.items()}
    return command_words({"features": folder_of("clip", 2)(wildcards, input)} | names)


def motion_shards(wildcards):
    """Return the motion features that a run reads: every shard, or none."""
    return feature_shards("motion") if CONFIG.runs[wildcards.run].uses_motion else []


# A run is `models/{method}` or `ablation/{variant}`; the same rules train, predict and score both.
MODEL = "results/{run}/seed{seed}"
# A job trains, and one parses with, one seed of a run or all of them: training.seeds_at_once.
IS_TOGETHER = CONFIG.training.seeds_at_once is not None
JOB = "{run}" if IS_TOGETHER else "{run}-seed{seed}"
JOB_SEEDS = CONFIG.training.seeds if IS_TOGETHER else ["{seed}"]
SEEDS_AT_ONCE = min(CONFIG.training.seeds_at_once or 1, len(JOB_SEEDS))
PREDICTIONS = [
    f"predicted_{split}_{modality}.csv"
    for split in SCORED_SPLITS
    for modality in EVENT_TABLES
]
PROBABILITIES = [f"probabilities_{split}.safetensors" for split in SCORED_SPLITS]
# What the report and the tables over several model folders read of each.
SCORED = ["checkpoint.safetensors", "curve.csv", "metrics.json"]
COMPARED = [
    *SCORED,
    "predicted_test_audio.csv",
    "predicted_test_visual.csv",
    "probabilities_test.safetensors",
]


def of_job(files):
    """Return files of every model folder that one job makes."""
    return expand("results/{{run}}/seed{seed}/{file}", seed=JOB_SEEDS, file=files)


def model_folders(kind):
    """Return the model folders of every run and seed, of `models` or of `ablation`."""
    runs = [run for run in CONFIG.runs if run.startswith(f"{kind}/")]
    return expand(MODEL, run=runs, seed=CONFIG.training.seeds)


def trained(files, kind="models"):
    """Return files of every model folder."""
    return expand("{folder}/{file}", folder=model_folders(kind), file=files)
