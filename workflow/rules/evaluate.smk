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
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        run=study.settings_of,
        evaluation=study.section("evaluation"),
        compute=study.section("compute"),
        prompts=study.prompts_for,
        shards=len(study.shards),
        code=code_of("evaluate_model"),
        mteb_version=version("mteb"),
    message:
        "Evaluating {wildcards.method} on {wildcards.base}, seed {wildcards.seed}, shard {wildcards.shard}"
    script:
        "../scripts/evaluate_model.py"
