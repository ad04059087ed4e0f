# From result files to statistics, tables, figures, claims and the report: reads files, never models.
SCORE_FILES = {
    "scores": "<results>/scores.csv",
    "per_item": "<results>/items",
    "efficiency": "<results>/efficiency.csv",
    "training": "<results>/training.json",
    "published": "<results>/efficiency_published.csv",
    "law": "<results>/efficiency_law.csv",
    "audit": "<results>/audit.json",
    "manifest": "<results>/manifest.json",
}
for newer in ("published", "law", "audit"):  # a study from before has none
    if FROM_FILES and not (FOLDERS.results / Path(SCORE_FILES[newer]).name).is_file():
        del SCORE_FILES[newer]
ANALYSED = {**SCORE_FILES, "statistics": "<results>/statistics"}


EXTERNAL = imported("external.json", ASKED.external_results)
ELSEWHERE = imported("external_efficiency.csv", ASKED.external_efficiency)
# Checksums follow what is made, where all that they are of is there.
WHOLE = all(
    (FOLDERS.results / part).is_dir()
    for part in ("mteb", *(f"models/{path}" for path in RUNS))
)
SUMS = ["<results>/SHA256SUMS"] if WHOLE else []


# Where only these files were brought here, nothing can make them.
if not FROM_FILES:

    rule collect_scores:
        input:
            jobs=[
                f"<work>/evaluation/{path}/shard{shard}"
                for path in RUNS
                for shard in study.shards
            ],
        output:
            scores="<results>/scores.csv",
            per_item=directory("<results>/items"),
            mteb=directory("<results>/mteb"),
        log:
            "<work>/logs/collect_scores.log",
        benchmark:
            "<work>/benchmarks/collect_scores.jsonl"
        params:
            code=code_of("collect_scores"),
        message:
            "Gathering all scores"
        script:
            "../scripts/collect_scores.py"

    rule collect_training:
        input:
            models=[
                f"<results>/models/{path}" for path, run in RUNS.items() if run.trained
            ],
        output:
            "<results>/training.json",
        log:
            "<work>/logs/collect_training.log",
        params:
            code=code_of("collect_training"),
        message:
            "Gathering the training records"
        script:
            "../scripts/collect_training.py"

    rule collect_audits:
        input:
            audits=[
                f"<work>/audit/{path}.json"
                for path, run in RUNS.items()
                if run.trained
            ],
        output:
            "<results>/audit.json",
        log:
            "<work>/logs/collect_audits.log",
        params:
            code=code_of("collect_audits"),
        message:
            "Gathering the audits"
        script:
            "../scripts/collect_audits.py"

    rule write_manifest:
        input:
            scores="<results>/scores.csv",
            models=[f"<results>/models/{path}" for path in RUNS],
            sources=[f"<work>/models/{name}" for name in study.used_models],
            pairs="<work>/pairs",
            hardware="<work>/hardware.json",
            efficiency="<results>/efficiency.csv",  # so that its time is listed too
        output:
            report(
                "<results>/manifest.json",
                category="How it was run",
                caption="../report/manifest.rst",
            ),
        log:
            "<work>/logs/write_manifest.log",
        params:
            config=CONFIG.model_dump(),
            code=code_of("write_manifest"),
        message:
            "Recording how everything was made"
        script:
            "../scripts/write_manifest.py"


rule compute_statistics:
    input:
        scores="<results>/scores.csv",
        per_item="<results>/items",
        manifest="<results>/manifest.json",  # says which bases are compared
    output:
        directory("<results>/statistics"),
    log:
        "<work>/logs/compute_statistics.log",
    benchmark:
        "<work>/benchmarks/compute_statistics.jsonl"
    threads: ALL_CORES
    params:
        statistics=study.section("statistics"),
        code=code_of("compute_statistics"),
    message:
        "Computing intervals and tests"
    script:
        "../scripts/compute_statistics.py"


if ASKED.external_results is not None:

    rule import_results:
        input:
            scores="<results>/scores.csv",
        output:
            "<results>/external.json",
        log:
            "<work>/logs/import_results.log",
        params:
            folder=ASKED.external_results,
            code=code_of("import_results"),
        message:
            "Importing other models' results"
        script:
            "../scripts/import_results.py"


if ASKED.external_efficiency is not None:

    rule import_efficiency:
        output:
            "<results>/external_efficiency.csv",
        log:
            "<work>/logs/import_efficiency.log",
        params:
            file=ASKED.external_efficiency,
            code=code_of("import_efficiency"),
        message:
            "Importing costs of another machine"
        script:
            "../scripts/import_efficiency.py"


rule make_tables:
    input:
        **ANALYSED,
        external=EXTERNAL,
        elsewhere=ELSEWHERE,
        layout=str(located(CONFIG.reporting.tables)),
    output:
        report(
            directory("<results>/tables"),
            patterns=["{table}.html"],
            category="Tables",
            caption="../report/table.rst",
            labels={"table": "{table}"},
        ),
    log:
        "<work>/logs/make_tables.log",
    benchmark:
        "<work>/benchmarks/make_tables.jsonl"
    params:
        code=code_of("make_tables"),
    message:
        "Writing the tables"
    script:
        "../scripts/make_tables.py"


rule make_plots:
    input:
        **ANALYSED,
        elsewhere=ELSEWHERE,
    output:
        report(
            directory("<results>/plots"),
            patterns=["{figure}.svg"],
            category="Figures",
            caption="../report/figure.rst",
            labels={"figure": "{figure}"},
        ),
    log:
        "<work>/logs/make_plots.log",
    benchmark:
        "<work>/benchmarks/make_plots.jsonl"
    params:
        code=code_of("make_plots"),
    message:
        "Drawing the figures"
    script:
        "../scripts/make_plots.py"


rule check_claims:
    input:
        **ANALYSED,
        elsewhere=ELSEWHERE,
        claims=str(located(CONFIG.reporting.claims)),
    output:
        report(
            directory("<results>/claims"),
            patterns=["{table}.html"],
            category="Claims",
            caption="../report/claims.rst",
            labels={"table": "{table}"},
        ),
    log:
        "<work>/logs/check_claims.log",
    params:
        code=code_of("check_claims"),
    message:
        "Holding the papers' claims against the numbers"
    script:
        "../scripts/check_claims.py"


rule enforce_claims:
    input:
        "<results>/claims",
    output:
        touch("<work>/claims_hold"),
    log:
        "<work>/logs/enforce_claims.log",
    params:
        code=code_of("enforce_claims"),
    message:
        "Refusing contradicted claims (claims=strict)"
    script:
        "../scripts/enforce_claims.py"


rule write_report:
    input:
        **ANALYSED,
        external=EXTERNAL,
        elsewhere=ELSEWHERE,
        layout=str(located(CONFIG.reporting.tables)),
        claims=str(located(CONFIG.reporting.claims)),
        plots="<results>/plots",
    output:
        report(
            "<results>/report.html", category="Report", caption="../report/report.rst"
        ),
    log:
        "<work>/logs/write_report.log",
    params:
        code=code_of("write_report"),
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"


# Last of all, over what the default target makes; what stands in the folder besides is not listed.
if WHOLE or not FROM_FILES:

    rule write_checksums:
        input:
            **ANALYSED,
            mteb="<results>/mteb",
            models=[f"<results>/models/{path}" for path in RUNS],
            made=[
                "<results>/tables",
                "<results>/plots",
                "<results>/claims",
                "<results>/report.html",
                *EXTERNAL,
                *ELSEWHERE,
            ],
        output:
            "<results>/SHA256SUMS",
        log:
            "<work>/logs/write_checksums.log",
        threads: ALL_CORES
        resources:
            mem_mb=1000,  # files of any size are read piece by piece
        params:
            code=code_of("write_checksums"),
        message:
            "Writing the checksum of every result"
        script:
            "../scripts/write_checksums.py"


# Neither input nor output: what is there is checked as it is, whenever it is asked.
rule verify:
    log:
        "<work>/logs/verify.log",
    threads: ALL_CORES
    params:
        layout=str(located(CONFIG.reporting.tables)),
        claims=str(located(CONFIG.reporting.claims)),
        external=ASKED.external_results,
        external_efficiency=ASKED.external_efficiency,
    message:
        "Checking the results: checksums, scores, tables, all files"
    script:
        "../scripts/verify.py"
