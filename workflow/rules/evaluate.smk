# Scores and costs of the finished models.
rule evaluate_model:
    input:
        model="results/models/{method}/{base}/seed{seed}",
        tasks=TASKS_PACKAGED,
        fetched=TASKS_FETCHED,
        hardware="work/hardware.json",
    output:
        directory("work/evaluation/{method}/{base}/seed{seed}/shard{shard}"),
    log:
        "work/logs/evaluate_model/{method}/{base}/seed{seed}/shard{shard}.log",
    benchmark:
        "work/benchmarks/evaluate_model/{method}/{base}/seed{seed}/shard{shard}.jsonl"
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        run=lambda wildcards: run_of(wildcards).model_dump(),
        evaluation=section("evaluation"),
        compute=section("compute"),
        prompts=PROMPTS.model_dump(),
        shard=lambda wildcards: int(wildcards.shard),
        shards=len(SHARDS),
        code=fingerprint(
            "causal2vec.evaluation.run",
            "causal2vec.evaluation.encoder",
            "causal2vec.evaluation.costs",
            "causal2vec.evaluation.tasks",
        ),
        mteb_version=installed_version("mteb"),
    message:
        "Evaluating {wildcards.method} on {wildcards.base}, seed {wildcards.seed}, shard {wildcards.shard}"
    script:
        "../scripts/evaluate_model.py"


rule measure_efficiency:
    input:
        models=[f"results/models/{path}" for path in measured_runs()],
        pairs="work/pairs",
        tokenizer=f"work/models/{CONFIG.bases[0]}",
        hardware="work/hardware.json",
    output:
        "results/efficiency.csv",
    log:
        "work/logs/measure_efficiency.log",
    benchmark:
        "work/benchmarks/measure_efficiency.jsonl"
    threads: ALL_CORES  # nothing else may run beside a measurement
    resources:
        mem_mb=lambda wildcards, attempt: 2 * memory(wildcards, attempt),
        runtime=runtime,
        gpu=GPUS,
    params:
        efficiency=section("efficiency"),
        compute=section("compute"),
        code=fingerprint(
            "causal2vec.efficiency.measure", "causal2vec.efficiency.worker"
        ),
    message:
        "Measuring what each method costs, side by side"
    script:
        "../scripts/measure_efficiency.py"
