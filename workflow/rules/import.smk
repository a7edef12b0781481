# Released features, imported once into shards, without videos: in place of segments, features and
# prompts. Every array is checked; archives are read without extracting them.
# INPUTS: archives or folders of released features, the annotation tables.
# OUTPUTS: results/features/{kind}-{fingerprint}/K-of-N.safetensors, K-of-N.status.tsv and
# prompts.safetensors; results/features/masked_labels.safetensors


rule import_features:
    """Import the released features of every video."""
    input:
        archives=[checked(located, reference) for reference in IMPORTED.hub_files],
        tables=TABLES,
    output:
        shards=[feature_shards(kind) for kind in FINGERPRINTS],
        statuses=[feature_statuses(kind) for kind in FINGERPRINTS],
        prompts=PROMPTS,
        labels=MASKED_LABELS,
    log:
        "logs/import_features.log",
    benchmark:
        "benchmarks/import_features.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(60),
    params:
        digest=checked(IMPORTED.digest),
        options=IMPORTED.deciding(paths=False),
        tables=table_contents(*SPLIT_TABLES),
        classes=class_contents("name"),
        features=not_recorded(command_words(IMPORTED.model_dump())),
        annotations=annotations_folder,
        vocabulary=not_recorded(VOCABULARY),
        shards=DATASET.shards,
        out=own_folder(levels=2),
    shell:
        "python -m pipeline import-features {params.features}"
        " --annotations {params.annotations:q} --vocabulary {params.vocabulary:q}"
        " --shards {params.shards} --out {params.out:q} > {log:q} 2>&1"
