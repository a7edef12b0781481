# Shared by the rules: the checked configuration, the paths of the data, and functions for
# inputs and params.
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE))

from pipeline.config.inputs import (
    check_folder,
    check_inputs,
    check_videos,
    classes_digest,
    contents_digest,
    is_fetched,
    vocabulary_of,
)
from pipeline.config.load import config_warnings, effective_config, read_yaml
from pipeline.config.settings import inference_settings
from pipeline.core.errors import PipelineError
from pipeline.core.process import accept_any_character, name_user
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
# Snakemake and its logger ask for the user's name, which users of containers may lack.
name_user()
accept_any_character()
# Logs are UTF-8, whatever the locale.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(BASE))} {HUB_VARIABLE}={HUB_FOLDER}"
    " PYTHONIOENCODING=utf-8; "
)


# Whether the rules have been read; mistakes that are found later belong to a job.
is_read = False


def checked(function, *arguments, **keywords):
    """Call into the package; a user's mistake stops Snakemake with its one sentence."""
    try:
        return function(*arguments, **keywords)
    except PipelineError as error:
        if is_read:
            raise WorkflowError(str(error)) from None
        # Snakemake would put the place in this file before the sentence, and a traceback after it.
        logger.error(f"Error: {error}")
        sys.exit(1)


# Snakemake refuses a file without keys.
if Path("config.yaml").is_file() and checked(read_yaml, Path("config.yaml")):

    configfile: "config.yaml"


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

# What is the user's or the package's is no input of a rule: Snakemake would know it by path and time.
# A rule records a digest of its contents instead, and has its path from a param that is not recorded.
# So an older table counts, and a moved run, a link or another spelling changes nothing. What a rule
# makes is an ordinary input.
MADE = ["resources/demo/annotations", "resources/demo/videos"]
MADE += ["resources/annotations"] if DATASET.tables else []
ANNOTATIONS = (
    "resources/demo/annotations"
    if IS_DEMO
    else DATASET.annotations or "resources/annotations"
)
VIDEOS = "resources/demo/videos" if IS_DEMO else DATASET.videos
if workflow.is_main_process:
    checked(check_inputs, CONFIG, MADE)
PUBLISHED = checked(located, "package:published.yaml")
VOCABULARY = checked(located, DATASET.vocabulary)
CLASSES = checked(vocabulary_of, CONFIG)


def made(folder, files):
    """Return files of a folder that a rule makes; none of a folder of the user's."""
    return [f"{folder}/{file}" for file in files] if folder in MADE else []


SPLITS = made(ANNOTATIONS, SPLIT_TABLES.values())
EVENTS = made(ANNOTATIONS, EVENT_TABLES.values())
TABLES = SPLITS + EVENTS
MADE_VIDEOS = [VIDEOS] if VIDEOS in MADE else []
CORRECTIONS = (
    checked(correction_tables, Path(DATASET.corrections)) if DATASET.corrections else []
)
SOURCE = ManifestSource(
    Path(ANNOTATIONS),
    Path(VIDEOS or ""),
    DATASET.shards,
    DATASET.untrimmed,
    DATASET.follow_links,
)


def annotations_folder(wildcards, input, threads):
    """Return the folder of the annotation tables; not recorded, see `not_recorded`.

    Those that a rule makes may be elsewhere, where a storage plugin keeps its copies.
    """
    tables = input_files(input, "tables")
    return os.path.dirname(tables[0]) if tables else ANNOTATIONS


def videos_path(wildcards, input, threads):
    """Return the folder of the videos; likewise."""
    return [*input_files(input, "videos"), VIDEOS][0]


def contents(paths):
    """Return a param: a digest of the contents of files."""
    return lambda wildcards: checked(contents_digest, paths)


def table_contents(*splits, events=True):
    """Return a param: a digest of the user's tables of these splits, and of the event tables."""
    names = [SPLIT_TABLES[split] for split in splits]
    names += EVENT_TABLES.values() if events else []
    return contents([] if SPLITS else [Path(ANNOTATIONS, name) for name in names])


def class_contents(*fields):
    """Return a param: a digest of what the vocabulary says of every class in these fields."""
    return classes_digest(CLASSES, fields)


def videos_folder(wildcards):
    """Check that the user's videos are there, as an input function without files.

    The target `videos` makes a folder that does not exist, so only what reads it may ask for it.
    """
    if DATASET.source == "local" and VIDEOS not in MADE:
        advice = "put the videos there, set dataset.videos, or download them with the target `videos`"
        checked(check_folder, "dataset.videos", VIDEOS, advice)
    return []


def usable_dataset(wildcards):
    """Check that every split has videos, as an input function without files.

    Targets ask for it themselves: Snakemake ignores errors of the inputs of outputs that exist.
    """
    videos_folder(wildcards)
    if DATASET.source == "local" and workflow.is_main_process:
        _report_missing_videos()
    return []


@cache
def _report_missing_videos():
    if missing := checked(check_videos, CONFIG, SOURCE):
        logger.warning(missing)


# Encoders by name: how each one's segments are decoded, and the fingerprints that name the folders.
# Imported features have folders of the same names.
ENCODERS = CONFIG.encoders.by_name
DECODINGS = {name: CONFIG.decoding_of(name) for name in ENCODERS}
SETTINGS = inference_settings(CONFIG)
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
    """Return an encoder's weights if a rule downloads them; others are known by the fingerprint."""
    options = ENCODERS[encoder]
    return [str(options.weights_path)] if is_fetched(options) else []


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
