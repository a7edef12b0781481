# Videos to one-second segments: frames and 48 kHz mono audio, one job per shard, on CPUs. CLIP and
# CLAP share one decoding; the motion encoder has its own.
# INPUTS: the split tables, the folder of videos.
# OUTPUTS: results/segments/{decoding}/K-of-N.safetensors (temporary), K-of-N.status.tsv (kept)

SEGMENT_DECODINGS = {each.fingerprint(): each for each in DECODINGS.values()}
SEGMENT_ARRAYS = {
    fingerprint: sorted(
        {
            encoder.source
            for name, encoder in ENCODERS.items()
            if DECODINGS[name] == each
        },
        reverse=True,
    )
    for fingerprint, each in SEGMENT_DECODINGS.items()
}


rule segments:
    """Decode the videos of one shard."""
    input:
        tables=SPLITS,
        videos=MADE_VIDEOS,
        checked=videos_folder,
    output:
        shard=temp("results/segments/{decoding}/{scatteritem}.safetensors"),
        status="results/segments/{decoding}/{scatteritem}.status.tsv",
    log:
        "logs/segments/{decoding}/{scatteritem}.log",
    benchmark:
        "benchmarks/segments/{decoding}/{scatteritem}.tsv"
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        annotations=annotations_folder,
        videos=videos_path,
        digest=shard_digest,
        decoding=lambda wildcards: command_words(
            SEGMENT_DECODINGS[wildcards.decoding].deciding()
        ),
        runtime=lambda wildcards, threads: command_words(
            {
                **SEGMENT_DECODINGS[wildcards.decoding].runtime(),
                "follow_links": DATASET.follow_links,
            }
        ),
        arrays=lambda wildcards: SEGMENT_ARRAYS[wildcards.decoding],
    shell:
        "python -m pipeline segments --annotations {params.annotations:q} --videos {params.videos:q}"
        " --shard {wildcards.scatteritem} {params.decoding} {params.runtime} --arrays {params.arrays}"
        " --workers {threads} --out {output.shard:q} --status {output.status:q} > {log:q} 2>&1"
