# Frozen encoders over the segments, one job a shard and encoder, on GPUs: the cache people keep.
# REQUIRED INPUTS: segments, the encoders' weights.
# OUTPUTS: results/features/{encoder}-{fingerprint}/K-of-N.safetensors, K-of-N.status.tsv


rule clip_features:
    """Embed the frames of one shard with CLIP."""
    input:
        segments=f"{SEGMENTS}.safetensors",
        status=f"{SEGMENTS}.status.tsv",
        weights=weights_of("clip"),
    output:
        shard=f"{FOLDERS['clip']}/{SHARD}.safetensors",
        status=f"{FOLDERS['clip']}/{SHARD}.status.tsv",
    log:
        f"logs/clip_features/{SHARD}.log",
    benchmark:
        f"benchmarks/clip_features/{SHARD}.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=1,
    params:
        encoder=encoder_arguments("clip"),
        running=running_arguments("clip"),
        fingerprint=FINGERPRINTS["clip"],
        rows=shard_rows,
    shell:
        "python -m pipeline features {params.encoder} {params.running}"
        " --segments {input.segments:q} --status-in {input.status:q}"
        " --fingerprint {params.fingerprint} --gpus 1"
        " --out {output.shard:q} --status {output.status:q}"
        " 2>&1 | tee {log:q}"


use rule clip_features as clap_features with:
    input:
        segments=f"{SEGMENTS}.safetensors",
        status=f"{SEGMENTS}.status.tsv",
        weights=weights_of("clap"),
    output:
        shard=f"{FOLDERS['clap']}/{SHARD}.safetensors",
        status=f"{FOLDERS['clap']}/{SHARD}.status.tsv",
    log:
        f"logs/clap_features/{SHARD}.log",
    benchmark:
        f"benchmarks/clap_features/{SHARD}.tsv"
    params:
        encoder=encoder_arguments("clap"),
        running=running_arguments("clap"),
        fingerprint=FINGERPRINTS["clap"],
        rows=shard_rows,
