"""From result files to statistics, tables, figures, claims and the report.

Everything here reads files and never a model, so none of it imports torch, transformers or mteb; this package
itself imports nothing, which keeps ``python -m causal2vec.reporting --help`` quick. From bottom to top:

- `causal2vec.reporting.scores`, `gather`: what the evaluation jobs left becomes a few files.
- `causal2vec.reporting.statistics`: intervals, paired tests, ranks, from the items; `evidence` reads them.
- `causal2vec.reporting.study`: one results folder, read once; `summary`, `compare`: its scores, what is compared.
- `causal2vec.reporting.tables`, `figures`, `claims`, `published`: what is made of a study.
- `causal2vec.reporting.render`, `report`: how it is written.
"""
