# Functions of inputs and params, under the rule file that uses them. Functions that several rule files
# use are in common.smk.
import json
from glob import glob

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
        raise WorkflowError(f"encoders.{wildcards.encoder}.url is not set.")
    return options


def hub_source(wildcards):
    """Return the reference of a file that the configuration takes from the Hub."""
    path = f"resources/hub/{wildcards.owner}/{wildcards.name}/{wildcards.file}"
    for reference in HUB_FILES:
        if checked(located, reference) == path:
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


def encoder_arguments(wildcards, threads):
    """Return what decides an encoder's numbers, for the command line.

    It is not recorded, see `not_recorded`: the fingerprint stands for it, whatever the paths.
    """
    return command_words(ENCODERS[wildcards.encoder].deciding())


def encoder_runtime(wildcards, threads):
    """Return how an encoder runs, for the command line; not recorded, see `not_recorded`."""
    runtime = ENCODERS[wildcards.encoder].runtime()
    return command_words({key: value for key, value in runtime.items() if key != "url"})


# prompts.smk


def tokenizer_files(wildcards):
    """Return the files of an encoder's tokenizer if a rule downloads them."""
    paths = map(str, checked(lambda: ENCODERS[wildcards.encoder].tokenizer_files))
    return [path for path in paths if path.startswith(f"{HUB_FOLDER}/")]


def tokenizer_contents(wildcards):
    """Return a digest of the files of another tokenizer."""
    made = tokenizer_files(wildcards)
    paths = checked(lambda: ENCODERS[wildcards.encoder].tokenizer_files)
    return contents([path for path in paths if str(path) not in made])(wildcards)


def captions_of(wildcards):
    """Return a digest of the captions that an encoder reads."""
    return class_contents("name", f"{ENCODERS[wildcards.encoder].modality}_caption")


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
            return str(checked(stage.archive, encoder)) if stage.hub_files else []
        folder = f"results/dense/features/{encoder}-{FINGERPRINTS[encoder]}"
        shards = gather.shard(f"{folder}/{{scatteritem}}.safetensors")
        return [*shards, f"{folder}/prompts.safetensors"]

    return paths


def dense_source(encoder):
    """Return a function of params: where those features are, a folder or an archive."""

    def path(wildcards, input):
        stage = teacher_stage()
        if stage.demo is not None:
            return folder_of(encoder)(wildcards, input)
        return str(checked(stage.archive, encoder))

    return path


def dense_annotations(wildcards):
    """Return the annotations of the densely labelled videos if a rule makes them."""
    return "resources/dense_demo/dense.json" if teacher_stage().demo else []


def dense_file(wildcards, threads):
    """Return the annotations of the densely labelled videos; not recorded, see `not_recorded`."""
    return dense_annotations(wildcards) or teacher_stage().annotations


def dense_digest(wildcards):
    """Return digests of the user's features and annotations; others are ordinary inputs."""
    stage = teacher_stage()
    if stage.demo is not None:
        return ""
    archives = [] if stage.hub_files else UNAV_ARCHIVES
    return [
        *(checked(array_digest, checked(stage.archive, each)) for each in archives),
        checked(contents_digest, [Path(stage.annotations)]),
    ]


def teacher_arguments(wildcards):
    """Return seed and recipe of the teacher, for the command line."""
    stage = teacher_stage()
    return command_words({"seed": stage.seed} | stage.network.model_dump())


def trained_teacher(wildcards):
    """Return the teacher of this run; none if one was trained before."""
    if CONFIG.pseudo_labels.teacher is not None:
        return []
    teacher_stage()
    return "results/teacher/teacher.safetensors"


def teacher_label_arguments(wildcards, threads):
    """Return how the dataset is labelled with the teacher, for the command line."""
    folder = CONFIG.pseudo_labels.teacher or "results/teacher"
    return command_words(LABEL_OPTIONS | {"teacher": folder, "device": "cpu"})


def teacher_digest(wildcards):
    """Return what labels are made of: the options, and a teacher that was trained before."""
    folder = CONFIG.pseudo_labels.teacher
    files = [Path(folder, "teacher.safetensors")] if folder else []
    return [LABEL_OPTIONS, contents(files)(wildcards)]


# train.smk


METHOD_RUNS = [run for run in CONFIG.runs if run.startswith("models/")]


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


def job_seeds(wildcards, threads):
    """Return the seeds of a job; not recorded, as no seed depends on the others."""
    return [seed.format(**wildcards) for seed in map(str, JOB_SEEDS)]


def run_prompts(wildcards):
    """Return the class texts that a run reads, or none."""
    recipe = CONFIG.runs[wildcards.run].recipe
    return PROMPTS if recipe.uses_texts and not recipe.uses_word_vectors else []


def labels_folder(wildcards):
    """Return the folder of the labels that a run reads: a teacher's if its recipe demands them."""
    is_taught = CONFIG.runs[wildcards.run].uses_teacher_labels
    return f"results/{'teacher' if is_taught else 'pseudo'}_labels"


def training_labels(wildcards):
    """Return the labels that a run trains on, or none."""
    recipe = CONFIG.runs[wildcards.run].recipe
    is_read = recipe.uses_pseudo_labels or recipe.uses_prior
    return f"{labels_folder(wildcards)}/labels.safetensors" if is_read else []


def prior_labels(wildcards):
    """Return the labels that a run's network reads of the videos it parses, or none."""
    is_read = CONFIG.runs[wildcards.run].recipe.uses_prior
    return f"{labels_folder(wildcards)}/labels.safetensors" if is_read else []


def feature_arguments(wildcards, input):
    """Return the part of the command line for cached features, and labels not beside them."""
    names = {name: f"{name}-{made}" for name, made in FINGERPRINTS.items()}
    if CONFIG.runs[wildcards.run].uses_teacher_labels:
        names["pseudo_labels"] = labels_folder(wildcards)
    return command_words({"features": folder_of("clip", 2)(wildcards, input)} | names)


def method_arguments(wildcards):
    """Return a run's method and what it trains unlike the method's recipe, for the command line."""
    run = CONFIG.runs[wildcards.run]
    return f"--method {run.method} {option_words(run.training)}"


def decision_arguments(wildcards):
    """Return the thresholds that a run predicts with unlike the recipe, for the command line."""
    return option_words(CONFIG.runs[wildcards.run].decisions)


def option_words(options):
    """Return options of a recipe for the command line."""
    words = [f"{key}={value}" for key, value in options.items()]
    return shlex.join(word for each in words for word in ("--option", each))


# report.smk


def run_settings(wildcards, threads):
    """Return what provenance.json records of configuration, recipes and files, as JSON.

    It is not recorded, see `not_recorded`: `run_identity` stands for it.
    """
    weights = {
        name: {
            "file": encoder.weights,
            "sha256": checked(lambda: encoder.weights_digest),
        }
        for name, encoder in ([] if IMPORTED else ENCODERS.items())
    }
    settings = {
        "configuration": CONFIG.model_dump(mode="json"),
        "recipes": recipes(),
        "weights": weights,
        "imported": checked(IMPORTED.origins) if IMPORTED else {},
        "hub": checked(hub_records, HUB_FILES),
    }
    return json.dumps(settings)


def run_identity(wildcards):
    """Return what of that decides the report beside its inputs, without paths."""
    return [CONFIG.deciding(paths=False), recipes(), checked(hub_records, HUB_FILES)]


def recipes():
    """Return all options of every method that is trained."""
    return {
        f"models/{name}": recipe_for(name, options).model_dump(mode="json")
        for name, options in CONFIG.methods.items()
    }


def run_benchmarks(wildcards, threads):
    """Return the benchmark files of this configuration's jobs, of all that the folder has.

    Those of shards are one pattern: a thousand paths would make the command too long.
    """
    is_taught = any(CONFIG.runs[run].uses_teacher_labels for run in METHOD_RUNS)
    names = ["annotations", "pseudo_labels", "train_parser", "predict_parser"]
    names += ["evaluate_parser", "inference_settings"]
    names += ["demo_corpus"] if IS_DEMO else ["fetch_annotations"]
    names += feature_stages()
    names += ["train_teacher", "teacher_labels"] if is_taught else []
    if is_taught and CONFIG.teacher is not None and CONFIG.teacher.demo is not None:
        names += ["dense_corpus", "dense_segments"]
        names += ["encode_dense_segments", "encode_dense_prompts"]
    values = {
        "run": METHOD_RUNS,
        "seed": CONFIG.training.seeds,
        "decoding": list(SEGMENTS.values()),
        "encoder": list(FINGERPRINTS),
        "fingerprint": list(FINGERPRINTS.values()),
        "scatteritem": [f"*-of-{DATASET.shards}"],
        "table": list(DATASET.tables),
    }
    paths = [*fetched_benchmarks()]
    for name in names:
        pattern = str(getattr(rules, name).benchmark)
        used = {key: each for key, each in values.items() if f"{{{key}}}" in pattern}
        paths += expand(pattern, **used)
    return [path for path in dict.fromkeys(paths) if glob(path)]


def feature_stages():
    """Return the rules that make this configuration's features."""
    if IMPORTED:
        return ["import_features"]
    two_stages = ["segments", "encode_segments"]
    if not DATASET.encode_while_decoding:
        return ["manifest", *two_stages, "encode_prompts"]
    return [
        "manifest",
        "encode_videos",
        *(two_stages if "motion" in ENCODERS else []),
        "encode_prompts",
    ]


def fetched_benchmarks():
    """Return the benchmark files of downloaded weights and of files of the Hub."""
    fetched = [checked(located, reference) for reference in HUB_FILES]
    fetched += [path for name in ENCODERS for path in weights_files(name)]
    names = {
        "resources/hub/": "fetch_hub_file/",
        "resources/weights/": "fetch_weights/",
    }
    for path in fetched:
        for folder, name in names.items():
            if path.startswith(folder):
                yield f"benchmarks/{name}{path.removeprefix(folder)}.tsv"


# parse.smk


def parse_videos(wildcards):
    """Check the folder that is parsed, as an input function without files."""
    if CONFIG.parse.videos is None:
        raise WorkflowError(
            "parse.videos names no folder; set it, or add --config parse='{videos: FOLDER}'."
        )
    advice = "put the videos to parse there, or set parse.videos"
    checked(check_folder, "parse.videos", CONFIG.parse.videos, advice)
    return []


def parse_digest(wildcards):
    """Return a digest of the files of that folder."""
    folder = Path(CONFIG.parse.videos or "")
    return (
        checked(folder_digest, folder, CONFIG.parse.follow_links)
        if folder.is_dir()
        else ""
    )
