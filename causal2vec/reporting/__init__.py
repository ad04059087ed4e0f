"""From result files to statistics, tables, figures, claims and the report, and a finished folder checked again.

Everything here reads files and never a model, so none of it imports torch or transformers, and mteb only where
others' results are read; this package itself imports nothing, which keeps ``python -m causal2vec.reporting --help``
quick. From bottom to top:

- `causal2vec.reporting.read`: result files in, checked and typed.
- `causal2vec.reporting.analysis`: numbers to answers: statistics, comparisons, verdicts on claims; no formatting.
- `causal2vec.reporting.show`: answers to tables, figures and the report.
- `causal2vec.reporting.check`: a finished folder held against itself, or against another.
"""
