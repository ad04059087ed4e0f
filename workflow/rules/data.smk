# From packages and hubs to models, training pairs and evaluation data.
rule probe_machine:
    output:
        "work/hardware.json",
    log:
        "work/logs/probe_machine.log",
    benchmark:
        "work/benchmarks/probe_machine.jsonl"
    threads: CONFIG.compute.threads
    params:
        compute=section("compute"),
        code=fingerprint("causal2vec.compute"),
    message:
        "Measuring which number format this machine computes faster"
    script:
        "../scripts/probe_machine.py"


rule fetch_package:
    output:
        directory("work/packages/{package}"),
    log:
        "work/logs/fetch_package/{package}.log",
    benchmark:
        "work/benchmarks/fetch_package/{package}.jsonl"
    retries: 2
    params:
        package=lambda wildcards: PACKAGES[wildcards.package],
    message:
        "Fetching the data package {wildcards.package}"
    script:
        "../scripts/fetch_package.py"


rule prepare_model:
    output:
        directory("work/models/{model}"),
    log:
        "work/logs/prepare_model/{model}.log",
    benchmark:
        "work/benchmarks/prepare_model/{model}.jsonl"
    retries: 1
    params:
        name="{model}",
        source=lambda wildcards: CONFIG.models[wildcards.model].model_dump(
            exclude={"add_bos"}
        ),
        code=fingerprint("causal2vec.backbone"),
    message:
        "Fetching and converting the model {wildcards.model}"
    script:
        "../scripts/prepare_model.py"


rule prepare_tasks:
    input:
        expand("work/packages/{package}", package=PACKAGES),
    output:
        directory("work/tasks"),
    log:
        "work/logs/prepare_tasks.log",
    benchmark:
        "work/benchmarks/prepare_tasks.jsonl"
    params:
        code=fingerprint("causal2vec.evaluation.tasks", "causal2vec.corpora"),
    message:
        "Writing the packaged evaluation tasks"
    script:
        "../scripts/prepare_tasks.py"


rule collect_task_texts:
    input:
        "work/tasks",
    output:
        "work/task_texts.parquet",
    log:
        "work/logs/collect_task_texts.log",
    benchmark:
        "work/benchmarks/collect_task_texts.jsonl"
    params:
        tasks=CONFIG.evaluation.tasks,
        code=fingerprint("causal2vec.evaluation.tasks"),
    message:
        "Collecting every evaluation text, so that none is trained on"
    script:
        "../scripts/collect_task_texts.py"


rule prepare_pairs:
    input:
        packages=expand("work/packages/{package}", package=PACKAGES),
        eval_texts="work/task_texts.parquet",
    output:
        directory("work/pairs"),
    log:
        "work/logs/prepare_pairs.log",
    benchmark:
        "work/benchmarks/prepare_pairs.jsonl"
    params:
        pairs=section("pairs"),
        code=fingerprint(
            "causal2vec.training.pairs",
            "causal2vec.training.decontaminate",
            "causal2vec.corpora",
        ),
    message:
        "Making training pairs and dropping those that touch an evaluation text"
    script:
        "../scripts/prepare_pairs.py"
