# From packages and hubs to models, training pairs and evaluation data.
# Evaluation data: packaged tasks are written to a folder, official ones lie in the hub's cache, listed in a record.
TASKS_PACKAGED = ["<work>/tasks"] if PACKAGED or CONFIG.evaluation.own else []
TASKS_FETCHED = ["<work>/fetched/tasks.json"] if study.downloads_tasks else []
# The training mix, where it is downloaded.
PAIRS_FETCHED = (
    ["<work>/fetched/pairs.json"]
    if CONFIG.pairs.kind == "bge" and not CONFIG.pairs.folder
    else []
)
# The efficiency study needs the first base's tokenizer even where no run is on that base.
NEEDED_MODELS = list(dict.fromkeys([*study.used_models, CONFIG.bases[0]]))
# Priorities, here and in train.smk: what others wait for goes first, so that no core is left alone with a chain of jobs
# in the end.


rule probe_machine:
    output:
        "<work>/hardware.json",
    log:
        "<work>/logs/probe_machine.log",
    benchmark:
        "<work>/benchmarks/probe_machine.jsonl"
    priority: 4
    threads: CONFIG.compute.threads
    resources:
        gpu=study.gpus,
    params:
        compute=study.section("compute"),
        code=code_of("probe_machine"),
    message:
        "Measuring which number format this machine computes faster"
    script:
        "../scripts/probe_machine.py"


rule fetch_package:
    output:
        directory("<work>/packages/{package}"),
    log:
        "<work>/logs/fetch_package/{package}.log",
    benchmark:
        "<work>/benchmarks/fetch_package/{package}.jsonl"
    priority: 4
    retries: 0  # it tries again itself, with pauses (docs/offline.md)
    params:
        package=lambda wildcards: PACKAGES[wildcards.package],
    message:
        "Fetching the data package {wildcards.package}"
    script:
        "../scripts/fetch_package.py"


rule prepare_model:
    input:
        lambda wildcards: (
            f"<work>/fetched/models/{wildcards.model}.json"
            if study.from_hub(wildcards.model)
            else []
        ),
    output:
        directory("<work>/models/{model}"),
    log:
        "<work>/logs/prepare_model/{model}.log",
    benchmark:
        "<work>/benchmarks/prepare_model/{model}.jsonl"
    priority: 4
    retries: 1
    params:
        name="{model}",
        source=lambda wildcards: study.source_of(wildcards.model),
        code=code_of("prepare_model"),
    message:
        "Fetching and converting the model {wildcards.model}"
    script:
        "../scripts/prepare_model.py"


rule prepare_tasks:
    input:
        packages=expand("<work>/packages/{package}", package=PACKAGES) * PACKAGED,
        own=OWN_TASKS,
    output:
        directory("<work>/tasks"),
    log:
        "<work>/logs/prepare_tasks.log",
    benchmark:
        "<work>/benchmarks/prepare_tasks.jsonl"
    priority: 4
    params:
        own={name: task.model_dump() for name, task in CONFIG.evaluation.own.items()},
        code=code_of("prepare_tasks"),
    message:
        "Writing the packaged evaluation tasks, and the study's own"
    script:
        "../scripts/prepare_tasks.py"


rule collect_task_texts:
    input:
        tasks=TASKS_PACKAGED,
        fetched=TASKS_FETCHED,
    output:
        "<work>/task_texts.parquet",
    log:
        "<work>/logs/collect_task_texts.log",
    benchmark:
        "<work>/benchmarks/collect_task_texts.jsonl"
    priority: 4
    params:
        tasks=CONFIG.evaluation.tasks,
        code=code_of("collect_task_texts"),
    message:
        "Collecting every evaluation text, so that none is trained on"
    script:
        "../scripts/collect_task_texts.py"


rule prepare_pairs:
    input:
        packages=expand("<work>/packages/{package}", package=PACKAGES),
        eval_texts=(
            ["<work>/task_texts.parquet"] if CONFIG.pairs.decontaminate_ngram else []
        ),
        fetched=PAIRS_FETCHED,
        own=OWN_PAIRS,
    output:
        directory("<work>/pairs"),
    log:
        "<work>/logs/prepare_pairs.log",
    benchmark:
        "<work>/benchmarks/prepare_pairs.jsonl"
    priority: 4
    params:
        pairs=study.section("pairs"),
        code=code_of("prepare_pairs"),
    message:
        "Making training pairs and dropping those that touch an evaluation text"
    script:
        "../scripts/prepare_pairs.py"


# Downloads: everything that needs a network, so that `snakemake fetch` can do it where there is one.
rule fetch_model:
    output:
        "<work>/fetched/models/{model}.json",
    log:
        "<work>/logs/fetch_model/{model}.log",
    retries: 0  # it tries again itself, with pauses (docs/offline.md)
    params:
        name="{model}",
        source=lambda wildcards: study.source_of(wildcards.model, "keep_layers"),
    message:
        "Downloading the model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


rule fetch_tasks:
    output:
        "<work>/fetched/tasks.json",
    log:
        "<work>/logs/fetch_tasks.log",
    retries: 0  # it tries again itself, with pauses (docs/offline.md)
    params:
        tasks=[
            name
            for name in CONFIG.evaluation.tasks
            if name not in CONFIG.evaluation.own
        ],
        mteb_version=version("mteb"),
    message:
        "Downloading the official evaluation tasks' data"
    script:
        "../scripts/fetch_tasks.py"


rule fetch_texts:
    output:
        "<work>/fetched/texts/{stage}.json",
    log:
        "<work>/logs/fetch_texts/{stage}.log",
    retries: 0  # it tries again itself, with pauses (docs/offline.md)
    params:
        texts=lambda wildcards: getattr(CONFIG, wildcards.stage).texts.model_dump(),
    message:
        "Downloading the text for {wildcards.stage}"
    script:
        "../scripts/fetch_texts.py"


rule fetch_pairs:
    output:
        "<work>/fetched/pairs.json",
    log:
        "<work>/logs/fetch_pairs.log",
    retries: 0  # it tries again itself, with pauses (docs/offline.md)
    params:
        pairs=study.section("pairs"),
    message:
        "Downloading the training mix"
    script:
        "../scripts/fetch_pairs.py"


rule fetch:
    input:
        models=expand(
            "<work>/fetched/models/{model}.json",
            model=filter(study.from_hub, NEEDED_MODELS),
        ),
        others=expand(
            "<work>/models/{model}",
            model=[name for name in NEEDED_MODELS if not study.from_hub(name)],
        ),
        packages=expand("<work>/packages/{package}", package=PACKAGES),
        tasks=TASKS_FETCHED,
        texts=study.fetched_texts("mntp") + study.fetched_texts("simcse"),
        pairs=PAIRS_FETCHED,
    output:
        "<work>/fetched/manifest.json",
    log:
        "<work>/logs/fetch.log",
    message:
        "Writing the manifest of everything that was downloaded"
    script:
        "../scripts/write_fetch_manifest.py"
