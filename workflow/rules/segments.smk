# Videos to 1-second segments: frames and 48 kHz mono audio, one job a shard, on CPUs.
# REQUIRED INPUTS: the annotation tables, the folder of videos.
# OUTPUTS: results/segments/{decoding}/K-of-N.safetensors (temporary), K-of-N.status.tsv (kept)


rule segments:
    """Decode the videos of one shard."""
    input:
        tables=LISTED,
        videos=CLIPS,
    output:
        shard=temp(f"{SEGMENTS}.safetensors"),
        status=f"{SEGMENTS}.status.tsv",
    log:
        f"logs/segments/{SHARD}.log",
    benchmark:
        f"benchmarks/segments/{SHARD}.tsv"
    conda:
        "../../envs/media.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        annotations=folder_of("tables"),
        shard=shard_index,
        shards=DATASET.shards,
        rows=shard_rows,
        decoding=decoding_arguments("clip"),
        arrays="frames audio",
        timeout_seconds=unrecorded(DECODE.timeout_seconds),
    shell:
        "python -m pipeline segments --annotations {params.annotations:q}"
        " --videos {input.videos:q} --shard {params.shard} --shards {params.shards}"
        " {params.decoding} --arrays {params.arrays}"
        " --timeout-seconds {params.timeout_seconds} --workers {threads}"
        " --out {output.shard:q} --status {output.status:q} 2>&1 | tee {log:q}"
