# Shared by the rules: the checked configuration, the paths of the data, and functions for
# inputs and params.
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE))

from pipeline.config.load import config_warnings, effective_config
from pipeline.core.errors import PipelineError
from pipeline.core.references import HUB_FOLDER, HUB_VARIABLE, located
from pipeline.core.run_display import replace_log
from pipeline.data.annotations import EVENT_TABLES, SCORED_SPLITS, SPLIT_TABLES
from pipeline.data.corrections import correction_tables
from pipeline.data.manifest import ManifestSource

# Rules run `python -m pipeline` from this checkout, whatever the working directory, with the Python
# that runs Snakemake (or that of the rule's conda environment, which comes first on the PATH).
os.environ.update(
    PATH=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
)
# The working directory is a run folder, even before anything shows it.
os.environ[HUB_VARIABLE] = str(HUB_FOLDER)
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(BASE))} {HUB_VARIABLE}={HUB_FOLDER}; "
)


def checked(function, *arguments, **keywords):
    """Call into the package; a user's mistake stops Snakemake with its one sentence."""
    try:
        return function(*arguments, **keywords)
    except PipelineError as error:
        raise WorkflowError(str(error)) from None


def from_package(path):
    """Return a path of the configuration; a file of the package as a relative path."""
    found = checked(located, path)
    return os.path.relpath(found) if path.startswith("package:") else found


def config_files():
    """Return config.yaml, if there is one, and then the files of `--configfile`."""
    settings = workflow.config_settings
    given = [Path(path) for path in settings.configfiles]
    # Snakemake lists the Snakefile's own file last, although the others change it.
    own = [Path(path) for path in workflow.configfiles if Path(path) not in given]
    return given if settings.replace_workflow_config else own + given


# Not Snakemake's `config`: it merges the methods of all files, of which the last are to count.
CONFIG = checked(effective_config, workflow.config_settings.config, config_files())
DATASET = CONFIG.dataset
IS_DEMO = DATASET.source == "demo"
# Jobs read the configuration again, and would repeat it.
if workflow.is_main_process:
    for warning in config_warnings(CONFIG):
        logger.warning(warning)
    # The local profile asks for stages instead of Snakemake's log, which no dry run has.
    if (
        Quietness.REASON in (workflow.output_settings.quiet or ())
        and not workflow.output_settings.dryrun
    ):
        replace_log(logger)
# Released features that are imported, or None where features are made of videos.
IMPORTED = DATASET.features
VOCABULARY = from_package(DATASET.vocabulary)

# The user's folders are `ancient`: the digest of each shard's videos decides what is rerun, not time
# stamps, so a new video touches its own shard alone. What a rule makes is an ordinary input.
ANNOTATIONS = (
    "resources/demo/annotations"
    if IS_DEMO
    else DATASET.annotations or "resources/annotations"
)
VIDEOS = "resources/demo/videos" if IS_DEMO else DATASET.videos
# Rules make these, also when they are named as one's own.
MADE = ("resources/demo/annotations", "resources/annotations", "resources/demo/videos")


def existing_folder(key, folder, advice):
    """Return a folder of the user's, which must exist unless a rule makes it."""
    if not os.path.isdir(folder) and os.path.normpath(folder) not in MADE:
        raise WorkflowError(f"{key} '{folder}' does not exist; {advice}.")
    return folder


def table_inputs(names):
    """Return an input function: these annotation tables."""

    def paths(wildcards):
        if DATASET.annotations:
            advice = "put the annotation tables there, or set dataset.annotations"
            existing_folder("dataset.annotations", ANNOTATIONS, advice)
        return [f"{ANNOTATIONS}/{name}" for name in names]

    return paths


def dataset_videos(wildcards):
    """Return the folder of the videos.

    The target `videos` makes a folder that does not exist, so only what reads it may ask for it.
    """
    if IS_DEMO:
        return VIDEOS
    advice = "put the videos there, set dataset.videos, or download them with the target `videos`"
    return ancient(existing_folder("dataset.videos", VIDEOS, advice))


SPLITS = table_inputs([*SPLIT_TABLES.values()])
TABLES = table_inputs([*SPLIT_TABLES.values(), *EVENT_TABLES.values()])
CORRECTIONS = (
    [str(path) for path in checked(correction_tables, Path(DATASET.corrections))]
    if DATASET.corrections
    else []
)
SOURCE = ManifestSource(
    Path(ANNOTATIONS), Path(VIDEOS or ""), DATASET.shards, DATASET.untrimmed
)

# Encoders by name: how each one's segments are decoded, and the fingerprints that name the folders.
# Imported features have folders of the same names.
ENCODERS = CONFIG.encoders.by_name
DECODINGS = {name: CONFIG.decoding_of(name) for name in ENCODERS}
SEGMENTS = {name: decoding.fingerprint() for name, decoding in DECODINGS.items()}
FINGERPRINTS = (
    checked(IMPORTED.fingerprints)
    if IMPORTED
    else {
        name: checked(encoder.fingerprint, SEGMENTS[name])
        for name, encoder in ENCODERS.items()
    }
)
CAPTIONED = [
    name
    for name in FINGERPRINTS
    if (name in IMPORTED.texts() if IMPORTED else ENCODERS[name].captions)
]
PROMPTS = [
    f"results/features/{name}-{FINGERPRINTS[name]}/prompts.safetensors"
    for name in CAPTIONED
]
# Masked labels that were released with imported features.
MASKED_LABELS = (
    ["results/features/masked_labels.safetensors"]
    if IMPORTED and IMPORTED.has_masked_labels
    else []
)


HUB_FILES = [
    reference
    for options in (*ENCODERS.values(), IMPORTED, CONFIG.teacher)
    if options is not None
    for reference in options.hub_files
]


def feature_shards(encoder):
    """Return every feature shard of an encoder."""
    folder = f"results/features/{encoder}-{FINGERPRINTS[encoder]}"
    return gather.shard(f"{folder}/{{scatteritem}}.safetensors")


def feature_statuses(encoder):
    """Return the status table of every feature shard of an encoder."""
    folder = f"results/features/{encoder}-{FINGERPRINTS[encoder]}"
    return gather.shard(f"{folder}/{{scatteritem}}.status.tsv")


def weights_files(encoder):
    """Return the files that an encoder's weights are loaded from: one, or none if random."""
    options = ENCODERS[encoder]
    return [] if options.random_seed is not None else [from_package(options.weights)]


def shard_digest(wildcards):
    """Return a digest of a shard's videos.

    It is empty while tables are still to be fetched (Snakemake evaluates params again before the
    job, and records that value) and for the demo, whose rule is an ordinary input.
    """
    index = int(wildcards.scatteritem.split("-of-")[0])
    return "" if IS_DEMO else checked(SOURCE.shard_digest, index)


def growing(amount):
    """Return a resource that grows with each attempt."""
    return lambda wildcards, attempt: amount * attempt


def not_recorded(value):
    """Return a param whose change reruns nothing.

    Snakemake compares params with those of the last run, but not those of functions that take
    `threads` (Rule._is_deriving_function in its rules.py).
    """
    return lambda wildcards, threads: value


def input_files(input, name):
    """Return an input's files as a list; Snakemake gives a single one as a string."""
    files = input.get(name)
    return [files] if isinstance(files, str) else files


def folder_of(name, levels=1):
    """Return a function of params: the folder of an input's first file, so many levels up."""
    return lambda wildcards, input: str(
        Path(input_files(input, name)[0]).parents[levels - 1]
    )


def folders_of(name):
    """Return a function of params: the folders of an input's files, each once."""
    return lambda wildcards, input: list(
        dict.fromkeys(os.path.dirname(path) for path in input_files(input, name))
    )


def own_folder(levels=1):
    """Return a function of params: the folder of the first output, so many levels up."""
    return lambda wildcards, output: str(Path(output[0]).parents[levels - 1])


def command_words(values):
    """Return ``--key value`` words; of True the option alone, of False and None nothing."""
    options = []
    for key, value in values.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not None and value is not False:
            options += [option, str(value)]
    return shlex.join(options)
