# What the finished models cost.
rule efficiency:
    input:
        "<results>/efficiency.csv",
        "<results>/efficiency_published.csv",


rule measure_efficiency:
    input:
        models=[f"<results>/models/{path}" for path in measured_runs()],
        pairs="<work>/pairs",
        tokenizer=f"<work>/models/{CONFIG.bases[0]}",
        task_texts=["<work>/task_texts.parquet"] if CONFIG.efficiency.tasks else [],
        hardware="<work>/hardware.json",
    output:
        "<results>/efficiency.csv",
    log:
        "<work>/logs/measure_efficiency.log",
    benchmark:
        "<work>/benchmarks/measure_efficiency.jsonl"
    threads: ALL_CORES  # nothing else may run beside a measurement
    resources:
        mem_mb=lambda wildcards, attempt: 2 * memory(wildcards, attempt),
        runtime=runtime,
        gpu=GPUS,
    params:
        efficiency=section("efficiency"),
        compute=section("compute"),
        code=code_of("measure_efficiency"),
    message:
        "Measuring what each method costs, side by side"
    script:
        "../scripts/measure_efficiency.py"


# What it costs where the papers said so: by the law, from lengths alone.
rule predict_published:
    input:
        models=[f"<work>/models/{name}" for name in used_models()],
        pairs="<work>/pairs",
        efficiency="<results>/efficiency.csv",
    output:
        "<results>/efficiency_published.csv",
    log:
        "<work>/logs/predict_published.log",
    params:
        config=CONFIG.model_dump(mode="json"),
        mteb=installed_version("mteb"),
        code=code_of("predict_published"),
    message:
        "Working out what each method costs on MTEB with the published examples"
    script:
        "../scripts/predict_published.py"
