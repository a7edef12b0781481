# Videos to 1-second segments: frames and 48 kHz mono audio, one job a shard, on CPUs.
# REQUIRED INPUTS: the annotation tables, the folder of videos.
# OUTPUTS: results/segments/{decoding}/K-of-N.safetensors (temporary), K-of-N.status.tsv (kept)


rule segments:
    """Decode the videos of one shard."""
    input:
        tables=sources(TABLES),
        videos=sources(VIDEOS),
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
        mem_mb=4000,
        runtime=120,
    params:
        annotations=folder_of("tables"),
        shard=shard_index,
        shards=DATASET.shards,
        rows=shard_rows,
        untrimmed="--untrimmed" if DATASET.untrimmed else "",
        segments=DATASET.segments,
        sampling=DECODE.sampling,
        frames_per_segment=DECODE.frames_per_segment,
        frame_size=DECODE.frame_size,
        frame_transform=DECODE.frame_transform,
        missing_audio=DECODE.missing_audio,
        missing_video=DECODE.missing_video,
        short=DECODE.short,
        decoder=DECODE.decoder,
        timeout_seconds=DECODE.timeout_seconds,
    shell:
        "python -m pipeline segments --annotations {params.annotations:q}"
        " --videos {input.videos:q} {params.untrimmed}"
        " --shard {params.shard} --shards {params.shards} --segments {params.segments}"
        " --sampling {params.sampling} --frames-per-segment {params.frames_per_segment}"
        " --frame-size {params.frame_size} --frame-transform {params.frame_transform}"
        " --missing-audio {params.missing_audio} --missing-video {params.missing_video}"
        " --short {params.short} --decoder {params.decoder}"
        " --timeout-seconds {params.timeout_seconds} --workers {threads}"
        " --out {output.shard:q} --status {output.status:q} 2>&1 | tee {log:q}"
