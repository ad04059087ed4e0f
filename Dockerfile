# The environment of requirements.lock and the project in it. Not built by the project's own tests, which have no
# container engine: they check what is copied and installed.
#
#     docker build -t causal2vec-suite .
#     docker run --gpus all --shm-size 8g -v "$PWD/work:/opt/causal2vec-suite/work" \
#       -v "$PWD/results:/opt/causal2vec-suite/results" -v "$PWD/.snakemake:/opt/causal2vec-suite/.snakemake" \
#       -v "$HOME/.cache/huggingface:/root/.cache/huggingface" causal2vec-suite --cores all --configfile config/demo.yaml
#
# What a run leaves lies in the three mounted folders; .snakemake is Snakemake's memory of what was made from what.
# For GPUs: the usual build of torch for Linux brings the CUDA libraries; the driver is the host's (--gpus all).
FROM python:3.11-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
WORKDIR /opt/causal2vec-suite
COPY requirements.lock ./
RUN python -m pip install -r requirements.lock
COPY pyproject.toml README.md LICENSE Snakefile ./
COPY causal2vec causal2vec
COPY baselines baselines
COPY workflow workflow
COPY config config
COPY profiles profiles
RUN python -m pip install --no-deps --no-build-isolation -e .
ENTRYPOINT ["snakemake"]
CMD ["--help"]
