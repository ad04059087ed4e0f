# Making the models: optional masked-next-token pre-training, then the one common contrastive training.
rule pretrain_mntp:
    input:
        base="work/models/{base}",
        pairs="work/pairs",
        hardware="work/hardware.json",
        texts=fetched_texts("mntp"),
    output:
        directory("work/mntp/{base}/seed{seed}"),
    log:
        "work/logs/pretrain_mntp/{base}/seed{seed}.log",
    benchmark:
        "work/benchmarks/pretrain_mntp/{base}/seed{seed}.jsonl"
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
        code=fingerprint("causal2vec.training.mntp", "causal2vec.training.lora"),
    message:
        "Masked-next-token pre-training of {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_mntp.py"


rule pretrain_simcse:
    input:
        base=lambda wildcards: (
            f"work/mntp/{wildcards.base}/seed{wildcards.seed}"
            if wildcards.start == "mntp"
            else f"work/models/{wildcards.base}"
        ),
        pairs="work/pairs",
        hardware="work/hardware.json",
        texts=fetched_texts("simcse"),
    output:
        directory("work/simcse/{start}/{base}/seed{seed}"),
    log:
        "work/logs/pretrain_simcse/{start}/{base}/seed{seed}.log",
    benchmark:
        "work/benchmarks/pretrain_simcse/{start}/{base}/seed{seed}.jsonl"
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=GPUS,
    params:
        simcse=lambda wildcards: CONFIG.simcse.model_dump(),
        lora=CONFIG.budget.lora.model_dump(),
        compute=section("compute"),
        seed=lambda wildcards: int(wildcards.seed),
        code=fingerprint("causal2vec.training.simcse", "causal2vec.training.lora"),
    message:
        "Unsupervised contrastive pre-training of {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/pretrain_simcse.py"


rule train_model:
    input:
        unpack(parts_of),
        pairs="work/pairs",
        hardware="work/hardware.json",
    output:
        directory("results/models/{method}/{base}/seed{seed}"),
    log:
        "work/logs/train_model/{method}/{base}/seed{seed}.log",
    benchmark:
        "work/benchmarks/train_model/{method}/{base}/seed{seed}.jsonl"
    threads: CONFIG.compute.threads
    resources:
        mem_mb=memory,
        runtime=runtime,
        gpu=lambda wildcards: GPUS * run_of(wildcards).distributed.processes,
    params:
        run=lambda wildcards: run_of(wildcards).model_dump(),
        compute=section("compute"),
        prompts=PROMPTS.model_dump(),
        validate=VALIDATE,
        code=lambda wildcards: fingerprint(
            run_of(wildcards).spec.module.rpartition(".")[0],
            "causal2vec.embedder",
            "causal2vec.export",
            "causal2vec.training.contrastive",
            "causal2vec.training.trainer",
            "causal2vec.training.lora",
        ),
    message:
        "Making {wildcards.method} on {wildcards.base}, seed {wildcards.seed}"
    script:
        "../scripts/train_model.py"
