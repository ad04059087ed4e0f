"""From result files to ``scores.csv``, tables and plots.

Everything here reads files and never a model, so none of it imports torch, transformers or mteb; this package
itself imports nothing, which keeps ``python -m causal2vec.reporting --help`` quick.

- `causal2vec.reporting.scores`: gather mteb's result trees, write and read ``scores.csv``.
- `causal2vec.reporting.compare`: what is compared with what: the bases and the controls.
- `causal2vec.reporting.tables`: the tables, as Markdown, CSV and LaTeX.
- `causal2vec.reporting.plots`: the figures, as SVG and PNG.
"""
