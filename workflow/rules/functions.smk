# Functions of inputs and params, under the rule file that uses them. Functions that several rule files
# use are in common.smk.
import json

from pipeline.data.hub import hub_records
from pipeline.inference.input_files import folder_digest
from pipeline.parsers.registry import recipe_for

# fetch.smk


def table_source(wildcards):
    """Return the configured download of an annotation table."""
    if wildcards.table not in DATASET.tables:
        raise WorkflowError(
            f"dataset.tables has no '{wildcards.table}'; add its url and sha256, or name a folder"
            " in dataset.annotations."
        )
    return DATASET.tables[wildcards.table]


def weights_source(wildcards):
    """Return the options of the encoder whose weights are downloaded."""
    options = ENCODERS[wildcards.encoder]
    if options.url is None:
        raise WorkflowError(
            f"encoders.{wildcards.encoder}.weights is '{options.weights}', which does not exist;"
            " put the file there or set encoders."
            f"{wildcards.encoder}.url."
        )
    return options


def hub_source(wildcards):
    """Return the reference of a file that the configuration takes from the Hub."""
    path = f"resources/hub/{wildcards.owner}/{wildcards.name}/{wildcards.file}"
    for reference in HUB_FILES:
        if from_package(reference) == path:
            return reference
    raise WorkflowError(
        f"'{path}' is not a file that the configuration takes from the Hub."
    )


# videos.smk


def download_arguments(wildcards):
    """Return the folder that videos are downloaded into, and how, for the command line."""
    if VIDEOS is None or IS_DEMO:
        raise WorkflowError(
            f"dataset.source is '{DATASET.source}', which needs no videos to be downloaded; set"
            " source: local to use your own."
        )
    folder = {"videos": VIDEOS, "untrimmed": DATASET.untrimmed}
    return command_words(folder | CONFIG.download.model_dump())


# features.smk


def encoder_arguments(wildcards):
    """Return what decides an encoder's numbers, for the command line."""
    return command_words(ENCODERS[wildcards.encoder].deciding())


def encoder_runtime(wildcards, threads):
    """Return how an encoder runs, for the command line; not recorded, see `not_recorded`."""
    runtime = ENCODERS[wildcards.encoder].runtime()
    return command_words({key: value for key, value in runtime.items() if key != "url"})


# prompts.smk


def tokenizer_files(wildcards):
    """Return the files of an encoder's tokenizer."""
    options = ENCODERS[wildcards.encoder]
    return [os.path.relpath(path) for path in checked(lambda: options.tokenizer_files)]


# train.smk


def of_job(files):
    """Return files of every model folder that one job makes."""
    return expand("results/{{run}}/seed{seed}/{file}", seed=JOB_SEEDS, file=files)


def trained(files, kind="models"):
    """Return files of every model folder, of `models` or of `ablation`."""
    runs = [run for run in CONFIG.runs if run.startswith(f"{kind}/")]
    folders = expand("results/{run}/seed{seed}", run=runs, seed=CONFIG.training.seeds)
    return expand("{folder}/{file}", folder=folders, file=files)


def motion_shards(wildcards):
    """Return the motion features that a run reads: every shard, or none."""
    return feature_shards("motion") if CONFIG.runs[wildcards.run].uses_motion else []


def feature_arguments(wildcards, input):
    """Return the cached features' part of the command line."""
    names = {name: f"{name}-{made}" for name, made in FINGERPRINTS.items()}
    return command_words({"features": folder_of("clip", 2)(wildcards, input)} | names)


def method_arguments(wildcards):
    """Return a run's method and what it changes of the method's recipe, for the command line."""
    run = CONFIG.runs[wildcards.run]
    options = [f"{key}={value}" for key, value in run.options.items()]
    words = [word for option in options for word in ("--option", option)]
    return shlex.join(["--method", run.method, *words])


# report.smk


def run_settings(configuration):
    """Return what provenance.json records of configuration, recipes and files, as JSON."""
    weights = {
        name: {
            "file": from_package(encoder.weights),
            "sha256": checked(lambda: encoder.weights_digest),
        }
        for name, encoder in ([] if IMPORTED else ENCODERS.items())
    }
    imported = checked(IMPORTED.origins) if IMPORTED else {}
    recipes = {
        f"models/{name}": recipe_for(name, options).model_dump(mode="json")
        for name, options in CONFIG.methods.items()
    }
    settings = {"configuration": configuration, "recipes": recipes, "weights": weights}
    # A key that is not needed is left out: a new one would draw older reports again.
    hub = checked(hub_records, HUB_FILES)
    optional = {"imported": imported, "hub": hub}
    return json.dumps(
        settings | {key: value for key, value in optional.items() if value}
    )


# parse.smk


def parse_videos(wildcards):
    """Return the folder that is parsed."""
    if CONFIG.parse.videos is None:
        raise WorkflowError(
            "parse.videos names no folder; set it, or add --config parse='{videos: FOLDER}'."
        )
    advice = "put the videos to parse there, or set parse.videos"
    return ancient(existing_folder("parse.videos", CONFIG.parse.videos, advice))


def parse_digest(wildcards):
    """Return a digest of the files of that folder."""
    folder = Path(CONFIG.parse.videos or "")
    return checked(folder_digest, folder) if folder.is_dir() else ""
