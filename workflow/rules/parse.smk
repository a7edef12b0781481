# Videos that nobody annotated, with a parser of this run.
# REQUIRED INPUTS: a checkpoint, the thresholds of the pseudo-labels, the encoders' weights, a folder.
# OUTPUTS: results/parsing.json, results/parsed/{video}/ (tables and a page), results/parsed/status.tsv
#          and index.html, which lists them


rule parse_setup:
    """Note how this run's features were made, so that `parse` makes a new video's alike."""
    input:
        thresholds=rules.pseudo_labels.output.thresholds,
        vocabulary=VOCABULARY,
    output:
        "results/parsing.json",
    log:
        "logs/parse_setup.log",
    benchmark:
        "benchmarks/parse_setup.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        made_by=deciding(settings_from_config(CONFIG, ())),
        settings=unrecorded(settings_from_config(CONFIG, ()).model_dump_json()),
    shell:
        "python -m pipeline parse-setup --settings {params.settings:q}"
        " --vocabulary {input.vocabulary:q} --thresholds {input.thresholds:q} --out {output:q}"
        " 2>&1 | tee {log:q}"


rule parse:
    """Say what is heard and seen in a folder of videos."""
    input:
        videos=parse_videos,
        checkpoint=f"results/{CONFIG.parse_model}/checkpoint.safetensors",
        setup=rules.parse_setup.output,
        weights=weights_of("clip") + weights_of("clap"),
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
        files=parse_digest,
        checkpoint=folder_of("checkpoint"),
        options=command_words(CONFIG.parse.model_dump(include={"overlap", "threshold"})),
        timeout_seconds=unrecorded(DECODE.timeout_seconds),
    shell:
        "python -m pipeline parse {input.videos:q} --checkpoint {params.checkpoint:q}"
        " --setup {input.setup:q} {params.options} --timeout-seconds {params.timeout_seconds}"
        " --workers {threads} --gpus 1"
        " --out results/parsed 2>&1 | tee {log:q}"
