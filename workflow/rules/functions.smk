# Functions of inputs and params, under the rule file that uses them. Functions that several rule files
# use are in common.smk.
import json

from pipeline.config.models import UNAV_ARCHIVES
from pipeline.data.archives import array_digest
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
    folder |= {"follow_links": DATASET.follow_links}
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


# teacher.smk


def teacher_stage():
    """Return how a teacher is trained."""
    if CONFIG.teacher is None:
        raise WorkflowError(
            "no teacher is configured; set teacher, as the preset demo_methods does."
        )
    return CONFIG.teacher


def dense_features(encoder):
    """Return an input function: an encoder's features of the densely labelled videos."""

    def paths(wildcards):
        stage = teacher_stage()
        if stage.demo is None:
            path = str(checked(stage.archive, encoder))
            return path if stage.hub_files else ancient(path)
        folder = f"results/dense/features/{encoder}-{FINGERPRINTS[encoder]}"
        shards = gather.shard(f"{folder}/{{scatteritem}}.safetensors")
        return [*shards, f"{folder}/prompts.safetensors"]

    return paths


def dense_source(encoder):
    """Return a function of params: where those features are, a folder or an archive."""

    def path(wildcards, input):
        is_folder = teacher_stage().demo is not None
        return folder_of(encoder)(wildcards, input) if is_folder else input[encoder]

    return path


def dense_annotations(wildcards):
    """Return the annotations of the densely labelled videos."""
    stage = teacher_stage()
    if stage.demo is not None:
        return "resources/dense_demo/dense.json"
    if not os.path.isfile(stage.annotations):
        raise WorkflowError(
            f"teacher.annotations '{stage.annotations}' does not exist; put UnAV-100's annotations"
            " there, or set teacher.annotations."
        )
    return stage.annotations


def dense_digest(wildcards):
    """Return a digest of the user's features, which are `ancient`; others are ordinary inputs."""
    stage = teacher_stage()
    if stage.demo is not None or stage.hub_files:
        return ""
    return [
        checked(array_digest, checked(stage.archive, encoder))
        for encoder in UNAV_ARCHIVES
    ]


def teacher_arguments(wildcards):
    """Return seed and recipe of the teacher, for the command line."""
    stage = teacher_stage()
    return command_words({"seed": stage.seed} | stage.network.model_dump())


def trained_teacher(wildcards):
    """Return the teacher that labels the dataset: a given one, or that of this run."""
    folder = CONFIG.pseudo_labels.teacher
    if folder is None:
        teacher_stage()
        return "results/teacher/teacher.safetensors"
    path = f"{folder}/teacher.safetensors"
    if not os.path.isfile(path):
        raise WorkflowError(
            f"pseudo_labels.teacher '{folder}' has no teacher.safetensors; train one with"
            " `python -m pipeline teacher`, or configure teacher."
        )
    return path


def teacher_label_arguments(wildcards, input):
    """Return how the dataset is labelled with the teacher, for the command line."""
    folder = os.path.dirname(input.teacher)
    return command_words(LABEL_OPTIONS | {"teacher": folder, "device": "cpu"})


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


def run_labels(wildcards):
    """Return the labels that a run reads: a teacher's if its recipe demands them."""
    is_taught = CONFIG.runs[wildcards.run].uses_teacher_labels
    folder = "teacher_labels" if is_taught else "pseudo_labels"
    return f"results/{folder}/labels.safetensors"


def feature_arguments(wildcards, input):
    """Return the part of the command line for cached features, and labels not beside them."""
    names = {name: f"{name}-{made}" for name, made in FINGERPRINTS.items()}
    if CONFIG.runs[wildcards.run].uses_teacher_labels:
        names["pseudo_labels"] = os.path.dirname(input.labels)
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
    return (
        checked(folder_digest, folder, CONFIG.parse.follow_links)
        if folder.is_dir()
        else ""
    )
