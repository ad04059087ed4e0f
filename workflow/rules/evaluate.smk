# Scores of the finished models.
rule evaluate_model:
    input:
        model="<results>/models/{method}/{base}/seed{seed}",
        tasks=TASKS_PACKAGED,
        fetched=TASKS_FETCHED,
        hardware="<work>/hardware.json",
    output:
        directory("<work>/evaluation/{method}/{base}/seed{seed}/shard{shard}"),
    log:
        "<work>/logs/evaluate_model/{method}/{base}/seed{seed}/shard{shard}.log",
    benchmark:
        "<work>/benchmarks/evaluate_model/{method}/{base}/seed{seed}/shard{shard}.jsonl"
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        run=settings_of,
        evaluation=section("evaluation"),
        compute=section("compute"),
        prompts=prompts_for,
        shards=len(SHARDS),
        code=code_of("evaluate_model"),
        mteb_version=installed_version("mteb"),
    message:
        "Evaluating {wildcards.method} on {wildcards.base}, seed {wildcards.seed}, shard {wildcards.shard}"
    script:
        "../scripts/evaluate_model.py"
