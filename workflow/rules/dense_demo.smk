# A second synthetic corpus, whose dense labels the teacher learns from: rendered, decoded and encoded
# by the same rules as the demo's.
# INPUTS: the encoders' weights.
# OUTPUTS: resources/dense_demo/; results/dense/segments/ (temporary), results/dense/features/


use rule demo_corpus as dense_corpus with:
    output:
        videos=directory("resources/dense_demo/videos"),
        annotations=expand(
            "resources/dense_demo/annotations/{table}",
            table=[*SPLIT_TABLES.values(), *EVENT_TABLES.values()],
        ),
        dense="resources/dense_demo/dense.json",
    log:
        "logs/dense_corpus.log",
    benchmark:
        "benchmarks/dense_corpus.tsv"
    params:
        options=command_words(CONFIG.teacher.demo.model_dump()),


use rule segments as dense_segments with:
    input:
        tables=expand(
            "resources/dense_demo/annotations/{table}", table=SPLIT_TABLES.values()
        ),
        videos="resources/dense_demo/videos",
    output:
        shard=temp("results/dense/segments/{decoding}/{scatteritem}.safetensors"),
        status="results/dense/segments/{decoding}/{scatteritem}.status.tsv",
    log:
        "logs/dense_segments/{decoding}/{scatteritem}.log",
    benchmark:
        "benchmarks/dense_segments/{decoding}/{scatteritem}.tsv"
    params:
        annotations="resources/dense_demo/annotations",
        videos="resources/dense_demo/videos",


use rule encode_segments as encode_dense_segments with:
    input:
        segments=lambda wildcards: f"results/dense/segments/{SEGMENTS[wildcards.encoder]}/{wildcards.scatteritem}.safetensors",
        status=lambda wildcards: f"results/dense/segments/{SEGMENTS[wildcards.encoder]}/{wildcards.scatteritem}.status.tsv",
        weights=lambda wildcards: weights_files(wildcards.encoder),
    output:
        shard="results/dense/features/{encoder}-{fingerprint}/{scatteritem}.safetensors",
        status="results/dense/features/{encoder}-{fingerprint}/{scatteritem}.status.tsv",
    log:
        "logs/encode_dense_segments/{encoder}-{fingerprint}/{scatteritem}.log",
    benchmark:
        "benchmarks/encode_dense_segments/{encoder}-{fingerprint}/{scatteritem}.tsv"


use rule encode_prompts as encode_dense_prompts with:
    output:
        "results/dense/features/{encoder}-{fingerprint}/prompts.safetensors",
    log:
        "logs/encode_dense_prompts/{encoder}-{fingerprint}.log",
    benchmark:
        "benchmarks/encode_dense_prompts/{encoder}-{fingerprint}.tsv"
