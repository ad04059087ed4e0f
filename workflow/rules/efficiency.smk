# What the finished models cost.
rule efficiency:
    input:
        "<results>/efficiency.csv",
        "<results>/efficiency_law.csv",
        "<results>/efficiency_published.csv",


rule measure_efficiency:
    input:
        models=[f"<results>/models/{path}" for path in study.measured],
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
        mem_mb=lambda wildcards, attempt: 2 * study.memory(wildcards, attempt),
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        efficiency=study.section("efficiency"),
        compute=study.section("compute"),
        code=code_of("measure_efficiency"),
    message:
        "Measuring what each method costs, side by side"
    script:
        "../scripts/measure_efficiency.py"


# What it costs by the law, from lengths alone: between those measured, and where the papers said so.
rule predict_costs:
    input:
        models=[f"<work>/models/{name}" for name in study.used_models],
        pairs="<work>/pairs",
        efficiency="<results>/efficiency.csv",
    output:
        published="<results>/efficiency_published.csv",
        law="<results>/efficiency_law.csv",
    log:
        "<work>/logs/predict_costs.log",
    params:
        config=CONFIG.model_dump(mode="json"),
        mteb=version("mteb"),
        code=code_of("predict_costs"),
    message:
        "Working out what each method costs by the law, on MTEB with the published examples too"
    script:
        "../scripts/predict_costs.py"
