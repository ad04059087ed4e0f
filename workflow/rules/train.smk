# Making the models: optional masked-next-token pre-training, then the one common contrastive training.


rule pretrain_mntp:
    input:
        base="<work>/models/{base}",
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
        texts=fetched_texts("mntp"),
    output:
        directory("<work>/mntp/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_mntp/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_mntp/{base}/seed{seed}.jsonl"
    priority: 3
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        mntp=lambda wildcards: CONFIG.mntp.on(wildcards.base).model_dump(),
        lora=CONFIG.budget.lora.model_dump(),
        compute=section("compute"),
        seed=lambda wildcards: int(wildcards.seed),
        code=code_of("pretrain_mntp"),
    message:
        "Masked-next-token pre-training of {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_mntp.py"


rule pretrain_simcse:
    input:
        base=lambda wildcards: (
            f"<work>/mntp/{wildcards.base}/seed{wildcards.seed}"
            if wildcards.start == "mntp"
            else f"<work>/models/{wildcards.base}"
        ),
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
        texts=fetched_texts("simcse"),
    output:
        directory("<work>/simcse/{start}/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_simcse/{start}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_simcse/{start}/{base}/seed{seed}.jsonl"
    priority: 2
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        simcse=lambda wildcards: CONFIG.simcse.model_dump(),
        # The stage feeds the base as the first method does that goes through it.
        inputs=lambda wildcards: next(
            {key: run.inputs[key] for key in ("add_bos", "chat")}
            for run in RUNS.values()
            if run.base == wildcards.base and run.trained and run.spec.simcse
        ),
        lora=CONFIG.budget.lora.model_dump(),
        compute=section("compute"),
        seed=lambda wildcards: int(wildcards.seed),
        code=code_of("pretrain_simcse"),
    message:
        "Unsupervised contrastive pre-training of {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_simcse.py"


rule pretrain_alignment:
    input:
        llm=llm_of,
        encoder=lambda wildcards: f"<work>/models/{run_of(wildcards).encoder}",
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
        texts=fetched_texts("alignment"),
    output:
        directory("<work>/alignment/{method}/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_alignment/{method}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_alignment/{method}/{base}/seed{seed}.jsonl"
    priority: 2
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        run=lambda wildcards: run_of(wildcards).model_dump(),
        alignment=lambda wildcards: CONFIG.alignment.model_dump(),
        compute=section("compute"),
        code=lambda wildcards: code_of(
            "pretrain_alignment", run_of(wildcards).spec.module.rpartition(".")[0]
        ),
    message:
        "Aligning the Contextual token of {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_alignment.py"


rule train_model:
    input:
        unpack(parts_of),
        hardware="<work>/hardware.json",
    output:
        directory("<results>/models/{method}/{base}/seed{seed}"),
    log:
        "<work>/logs/train_model/{method}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/train_model/{method}/{base}/seed{seed}.jsonl"
    priority: 1
    # Per node: each process has as many threads. An untrained twin is only built: two at once where there are two cores.
    threads: training_threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        # An untrained twin is only built.
        gpu=lambda wildcards: GPUS
        * spread(wildcards).total
        * (ASKED.validate or run_of(wildcards).trained),
        nodes=lambda wildcards: spread(wildcards).nodes,
        # Words of Slurm's executor. mpi: do not start the script in a step of one node, as it starts its own steps
        # (causal2vec.training.launch), one task per node and not one per GPU. Null: as for any other job.
        mpi=lambda wildcards: several_nodes(wildcards, "srun"),
        tasks=lambda wildcards: several_nodes(wildcards, spread(wildcards).nodes),
        tasks_per_gpu=lambda wildcards: several_nodes(wildcards, 0),
    params:
        run=lambda wildcards: run_of(wildcards).model_dump(),
        compute=section("compute"),
        prompts=prompts_for,
        validate=ASKED.validate,
        code=lambda wildcards: code_of(
            "train_model", run_of(wildcards).spec.module.rpartition(".")[0]
        ),
    message:
        "Making {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/train_model.py"


rule audit_model:
    input:
        model="<results>/models/{method}/{base}/seed{seed}",
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
    output:
        "<work>/audit/{method}/{base}/seed{seed}.json",
    log:
        "<work>/logs/audit_model/{method}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/audit_model/{method}/{base}/seed{seed}.jsonl"
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        run=settings_of,
        compute=section("compute"),
        prompts=prompts_for,
        code=code_of("audit_model"),
    message:
        "Auditing {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/audit_model.py"
