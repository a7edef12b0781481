# Unannotated videos, parsed with a parser of this run.
# INPUTS: a checkpoint, the thresholds of the pseudo-labels, the encoders' weights, a folder of videos.
# OUTPUTS: results/parsing.json; results/parsed/{video}/ (tables and a page), status.tsv, index.html


rule inference_settings:
    """Save how this run makes features, so that `parse` makes those of a new video alike."""
    input:
        thresholds="results/pseudo_labels/thresholds.tsv",
    output:
        "results/parsing.json",
    log:
        "logs/inference_settings.log",
    benchmark:
        "benchmarks/inference_settings.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        vocabulary=not_recorded(VOCABULARY),
        classes=class_contents(*EventClass.model_fields),
        deciding=SETTINGS.deciding(),
        settings=not_recorded(SETTINGS.model_dump_json()),
    shell:
        "python -m pipeline inference-settings --settings {params.settings:q}"
        " --vocabulary {params.vocabulary:q} --thresholds {input.thresholds:q} --out {output:q}"
        " > {log:q} 2>&1"


rule parse:
    """Detect audio and visual events in a folder of videos."""
    input:
        checked=parse_videos,
        checkpoint=f"results/{CONFIG.parse_model}/checkpoint.safetensors",
        thresholds=f"results/{CONFIG.parse_model}/thresholds.json",
        settings="results/parsing.json",
        weights=weights_files("clip") + weights_files("clap"),
    output:
        "results/parsed/status.tsv",
    log:
        "logs/parse.log",
    benchmark:
        "benchmarks/parse.tsv"
    conda:
        "../../envs/parse.yaml"
    threads: 4
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=1,
    params:
        digest=parse_digest,
        videos=not_recorded(CONFIG.parse.videos),
        checkpoint=folder_of("checkpoint"),
        options=command_words(CONFIG.parse.model_dump(include={"overlap", "threshold"})),
        runtime=not_recorded(
            command_words(
                {
                    "embed_mb": CONFIG.parse.embed_mb,
                    "timeout_seconds": CONFIG.decode.timeout_seconds,
                    "follow_links": CONFIG.parse.follow_links,
                }
            )
        ),
    shell:
        "python -m pipeline parse {params.videos:q} --checkpoint {params.checkpoint:q}"
        " --settings {input.settings:q} {params.options} {params.runtime}"
        " --workers {threads} --gpus 1 --out results/parsed > {log:q} 2>&1"
