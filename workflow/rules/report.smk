# From results to tables and plots: reads files, never models.
rule collect_scores:
    input:
        jobs=[
            f"work/evaluation/{path}/shard{shard}" for path in RUNS for shard in SHARDS
        ],
    output:
        scores="results/scores.csv",
        mteb=directory("results/mteb"),
    log:
        "work/logs/collect_scores.log",
    benchmark:
        "work/benchmarks/collect_scores.jsonl"
    params:
        code=fingerprint("causal2vec.reporting.scores"),
    message:
        "Gathering all scores"
    script:
        "../scripts/collect_scores.py"


rule make_tables:
    input:
        scores="results/scores.csv",
        efficiency="results/efficiency.csv",
        training=[f"results/models/{path}" for path, run in RUNS.items() if run.trained],
    output:
        directory("results/tables"),
    log:
        "work/logs/make_tables.log",
    benchmark:
        "work/benchmarks/make_tables.jsonl"
    params:
        notes=table_notes(),
        order=list(dict.fromkeys(run.method for run in RUNS.values())),
        bases=CONFIG.bases,
        code=fingerprint("causal2vec.reporting"),
    message:
        "Writing the tables"
    script:
        "../scripts/make_tables.py"


rule make_plots:
    input:
        scores="results/scores.csv",
        efficiency="results/efficiency.csv",
        training=[f"results/models/{path}" for path, run in RUNS.items() if run.trained],
    output:
        directory("results/plots"),
    log:
        "work/logs/make_plots.log",
    benchmark:
        "work/benchmarks/make_plots.jsonl"
    params:
        note=CONFIG.scale_note,
        order=list(dict.fromkeys(run.method for run in RUNS.values())),
        bases=CONFIG.bases,
        code=fingerprint("causal2vec.reporting"),
    message:
        "Drawing the plots"
    script:
        "../scripts/make_plots.py"


rule write_manifest:
    input:
        "results/tables",
        "results/plots",
        scores="results/scores.csv",
        models=[f"results/models/{path}" for path in RUNS],
        sources=[f"work/models/{name}" for name in used_models()],
        pairs="work/pairs",
        hardware="work/hardware.json",
    output:
        "results/manifest.json",
    log:
        "work/logs/write_manifest.log",
    params:
        config=CONFIG.model_dump(),
        code=fingerprint("causal2vec.manifest"),
    message:
        "Recording how everything was made"
    script:
        "../scripts/write_manifest.py"
