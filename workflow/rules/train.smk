# Making the models: optional masked-next-token pre-training, then the one common contrastive training.


rule pretrain_mntp:
    input:
        base="<work>/models/{base}",
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
        texts=study.fetched_texts("mntp"),
    output:
        directory("<work>/mntp/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_mntp/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_mntp/{base}/seed{seed}.jsonl"
    priority: 3
    threads: CONFIG.compute.threads
    resources:
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        mntp=lambda wildcards: CONFIG.mntp.on(wildcards.base).model_dump(),
        lora=CONFIG.budget.lora.model_dump(),
        compute=study.section("compute"),
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
        texts=study.fetched_texts("simcse"),
    output:
        directory("<work>/simcse/{start}/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_simcse/{start}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_simcse/{start}/{base}/seed{seed}.jsonl"
    priority: 2
    threads: CONFIG.compute.threads
    resources:
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        simcse=lambda wildcards: CONFIG.simcse.model_dump(),
        inputs=study.simcse_inputs,
        lora=CONFIG.budget.lora.model_dump(),
        compute=study.section("compute"),
        seed=lambda wildcards: int(wildcards.seed),
        code=code_of("pretrain_simcse"),
    message:
        "Unsupervised contrastive pre-training of {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_simcse.py"


rule pretrain_alignment:
    input:
        llm=study.llm_of,
        encoder=lambda wildcards: f"<work>/models/{study.run_of(wildcards).encoder}",
        pairs="<work>/pairs",
        hardware="<work>/hardware.json",
        texts=study.fetched_texts("alignment"),
    output:
        directory("<work>/alignment/{method}/{base}/seed{seed}"),
    log:
        "<work>/logs/pretrain_alignment/{method}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/pretrain_alignment/{method}/{base}/seed{seed}.jsonl"
    priority: 2
    threads: CONFIG.compute.threads
    resources:
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        run=study.settings_of,
        alignment=lambda wildcards: CONFIG.alignment.model_dump(),
        compute=study.section("compute"),
        code=code_with_method("pretrain_alignment"),
    message:
        "Aligning the Contextual token of {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_alignment.py"


rule train_model:
    input:
        unpack(study.parts_of),
        hardware="<work>/hardware.json",
    output:
        directory("<results>/models/{method}/{base}/seed{seed}"),
    log:
        "<work>/logs/train_model/{method}/{base}/seed{seed}.log",
    benchmark:
        "<work>/benchmarks/train_model/{method}/{base}/seed{seed}.jsonl"
    priority: 1
    # Per node: each process has as many threads. An untrained twin is only built: two at once where there are two cores.
    threads: study.training_threads
    resources:
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.training_gpus,
        nodes=lambda wildcards: study.spread(wildcards).nodes,
        # Words of Slurm's executor. mpi: do not start the script in a step of one node, as it starts its own steps
        # (causal2vec.training.launch), one task per node and not one per GPU. Null: as for any other job.
        mpi=lambda wildcards: study.on_several_nodes(wildcards, "srun"),
        tasks=lambda wildcards: study.on_several_nodes(
            wildcards, study.spread(wildcards).nodes
        ),
        tasks_per_gpu=lambda wildcards: study.on_several_nodes(wildcards, 0),
    params:
        run=study.settings_of,
        compute=study.section("compute"),
        prompts=study.prompts_for,
        validate=ASKED.validate,
        code=code_with_method("train_model"),
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
        mem_mb=study.memory,
        runtime=study.runtime,
        gpu=study.gpus,
    params:
        run=study.settings_of,
        compute=study.section("compute"),
        prompts=study.prompts_for,
        code=code_of("audit_model"),
    message:
        "Auditing {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/audit_model.py"
