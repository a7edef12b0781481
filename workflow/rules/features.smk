# Frozen encoders over the segments, one job per shard and encoder, on GPUs: the features to keep.
# INPUTS: segments, the encoder's weights.
# OUTPUTS: results/features/{encoder}-{fingerprint}/K-of-N.safetensors, K-of-N.status.tsv


rule encode_segments:
    """Encode the segments of one shard."""
    input:
        segments=lambda wildcards: f"results/segments/{SEGMENTS[wildcards.encoder]}/{wildcards.scatteritem}.safetensors",
        status=lambda wildcards: f"results/segments/{SEGMENTS[wildcards.encoder]}/{wildcards.scatteritem}.status.tsv",
        weights=lambda wildcards: weights_files(wildcards.encoder),
    output:
        shard="results/features/{encoder}-{fingerprint}/{scatteritem}.safetensors",
        status="results/features/{encoder}-{fingerprint}/{scatteritem}.status.tsv",
    log:
        "logs/encode_segments/{encoder}-{fingerprint}/{scatteritem}.log",
    benchmark:
        "benchmarks/encode_segments/{encoder}-{fingerprint}/{scatteritem}.tsv"
    conda:
        "../../envs/encoders.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=1,
    params:
        encoder=encoder_arguments,
        runtime=encoder_runtime,
        digest=shard_digest,
    shell:
        "python -m pipeline features --encoder {wildcards.encoder} {params.encoder}"
        " {params.runtime} --segments {input.segments:q} --status-in {input.status:q}"
        " --fingerprint {wildcards.fingerprint} --gpus 1"
        " --out {output.shard:q} --status {output.status:q} > {log:q} 2>&1"
