# From packages and hubs to models, training pairs and evaluation data.
rule probe_machine:
    output:
        "work/hardware.json",
    params:
        compute=section("compute"),
        code=fingerprint("causal2vec.compute"),
    log:
        "work/logs/probe_machine.log",
    benchmark:
        "work/benchmarks/probe_machine.jsonl"
    threads: CONFIG.compute.threads
    message:
        "Measuring which number format this machine computes faster"
    script:
        "../scripts/probe_machine.py"


rule fetch_package:
    output:
        directory("work/packages/{package}"),
    params:
        package=lambda wildcards: PACKAGES[wildcards.package],
    log:
        "work/logs/fetch_package/{package}.log",
    benchmark:
        "work/benchmarks/fetch_package/{package}.jsonl"
    retries: 2
    message:
        "Fetching the data package {wildcards.package}"
    script:
        "../scripts/fetch_package.py"


rule prepare_model:
    output:
        directory("work/models/{model}"),
    params:
        name="{model}",
        source=lambda wildcards: CONFIG.models[wildcards.model].model_dump(exclude={"add_bos"}),
        code=fingerprint("causal2vec.backbone"),
    log:
        "work/logs/prepare_model/{model}.log",
    benchmark:
        "work/benchmarks/prepare_model/{model}.jsonl"
    retries: 1
    message:
        "Fetching and converting the model {wildcards.model}"
    script:
        "../scripts/prepare_model.py"


rule prepare_tasks:
    input:
        expand("work/packages/{package}", package=PACKAGES),
    output:
        directory("work/tasks"),
    params:
        packages="work/packages",
        code=fingerprint("causal2vec.evaluation.tasks", "causal2vec.corpora"),
    log:
        "work/logs/prepare_tasks.log",
    benchmark:
        "work/benchmarks/prepare_tasks.jsonl"
    message:
        "Writing the packaged evaluation tasks"
    script:
        "../scripts/prepare_tasks.py"


rule collect_task_texts:
    input:
        "work/tasks",
    output:
        "work/task_texts.parquet",
    params:
        tasks=CONFIG.evaluation.tasks,
        code=fingerprint("causal2vec.evaluation.tasks"),
    log:
        "work/logs/collect_task_texts.log",
    benchmark:
        "work/benchmarks/collect_task_texts.jsonl"
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
    params:
        packages="work/packages",
        pairs=section("pairs"),
        code=fingerprint("causal2vec.training.pairs", "causal2vec.training.decontaminate", "causal2vec.corpora"),
    log:
        "work/logs/prepare_pairs.log",
    benchmark:
        "work/benchmarks/prepare_pairs.jsonl"
    message:
        "Making training pairs and dropping those that touch an evaluation text"
    script:
        "../scripts/prepare_pairs.py"
