# Videos to features in one job per shard, in place of `segments` and `encode_segments`: the segments
# never reach the run's folder (dataset.encode_while_decoding).
# INPUTS: the split tables, the folder of videos, the encoders' weights.
# OUTPUTS: results/features/{clip,clap}-{fingerprint}/K-of-N.safetensors, K-of-N.status.tsv


ruleorder: encode_videos > encode_segments


rule encode_videos:
    """Decode and encode the videos of one shard."""
    input:
        tables=SPLITS,
        videos=MADE_VIDEOS,
        checked=videos_folder,
        weights=weights_files("clip") + weights_files("clap"),
    output:
        expand(
            "results/features/{encoder}-{fingerprint}/{{scatteritem}}.{kind}",
            zip,
            encoder=["clip", "clip", "clap", "clap"],
            fingerprint=[
                FINGERPRINTS[name] for name in ("clip", "clip", "clap", "clap")
            ],
            kind=["safetensors", "status.tsv"] * 2,
        ),
    log:
        "logs/encode_videos/{scatteritem}.log",
    benchmark:
        "benchmarks/encode_videos/{scatteritem}.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 16
    resources:
        mem_mb=growing(12000),
        runtime=growing(240),
        gpu=1,
    params:
        annotations=annotations_folder,
        videos=videos_path,
        digest=shard_digest,
        folder=command_words({"follow_links": DATASET.follow_links}),
        out=own_folder(2),
        settings=not_recorded(SETTINGS.model_dump_json()),
    shell:
        "python -m pipeline encode-videos --settings {params.settings:q}"
        " --annotations {params.annotations:q} --videos {params.videos:q} {params.folder}"
        " --shard {wildcards.scatteritem} --workers {threads} --gpus 1 --out {params.out:q}"
        " > {log:q} 2>&1"
