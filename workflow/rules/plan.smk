# What a study will cost, before it is started. Neither rule has an output, so that each does its work when it is asked.
rule plan:
    log:
        "<work>/logs/plan.log",
    params:
        config=CONFIG.model_dump(),
        prompts=study.prompts.model_dump(),
        gpus=ASKED.gpus,
        accelerator=ASKED.accelerator,
    message:
        "Planning: what this study will cost (plan.md)"
    script:
        "../scripts/plan.py"


rule calibrate:
    input:
        hardware="<work>/hardware.json",
    log:
        "<work>/logs/calibrate.log",
    threads: CONFIG.compute.threads
    resources:
        mem_mb=study.memory,
        gpu=study.gpus,
    params:
        config=CONFIG.model_dump(),
    message:
        "Measuring a training step and an encoding pass on this machine (calibration.json)"
    script:
        "../scripts/calibrate.py"
