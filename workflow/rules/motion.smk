# The motion encoder, where one is configured: its own frames, 8 a second, and R(2+1)D-18 over them.
# REQUIRED INPUTS: the annotation tables, the folder of videos, the encoder's weights.
# OUTPUTS: results/features/motion-{fingerprint}/K-of-N.safetensors, K-of-N.status.tsv
MOTION_SEGMENTS = f"results/segments/motion-{DECODINGS['motion']}/{SHARD}"


use rule segments as motion_segments with:
    output:
        shard=temp(f"{MOTION_SEGMENTS}.safetensors"),
        status=f"{MOTION_SEGMENTS}.status.tsv",
    log:
        f"logs/motion_segments/{SHARD}.log",
    benchmark:
        f"benchmarks/motion_segments/{SHARD}.tsv"
    params:
        annotations=folder_of("tables"),
        shard=shard_index,
        shards=DATASET.shards,
        rows=shard_rows,
        decoding=decoding_arguments("motion"),
        arrays="frames",
        timeout_seconds=unrecorded(DECODE.timeout_seconds),


use rule clip_features as motion_features with:
    input:
        segments=f"{MOTION_SEGMENTS}.safetensors",
        status=f"{MOTION_SEGMENTS}.status.tsv",
        weights=weights_of("motion"),
    output:
        shard=f"{FOLDERS['motion']}/{SHARD}.safetensors",
        status=f"{FOLDERS['motion']}/{SHARD}.status.tsv",
    log:
        f"logs/motion_features/{SHARD}.log",
    benchmark:
        f"benchmarks/motion_features/{SHARD}.tsv"
    params:
        encoder=encoder_arguments("motion"),
        running=running_arguments("motion"),
        fingerprint=FINGERPRINTS["motion"],
        rows=shard_rows,
