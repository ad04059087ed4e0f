"""What stands beside each figure in a report: what is shown, and what to look for."""

from __future__ import annotations

TITLES = {
    "score_vs_time": "Average score against time",
    "score_vs_length": "Average score against sequence length",
    "throughput_vs_length": "Throughput against text length",
    "cost_vs_length": "Time against text length",
    "prefix_reuse": "What reading a shared beginning once changes",
    "shorter_faster": "How much shorter and faster causal2vec is",
    "published_savings": "How much shorter causal2vec is on MTEB with the published examples",
    "scores_by_type": "Average score per task type",
    "forest": "Differences with intervals",
    "ranks": "Mean ranks",
    "heatmap": "Every score",
    "ablations": "Ablations",
    "audit": "Is the Contextual token used?",
    "loss_curves": "Training loss",
}
"""A short title of each figure."""

_CAPTIONS = {
    "score_vs_time": "Average score over all tasks against the time to embed 1,000 texts of mixed length. Up and to "
    "the left is better; nothing beats the methods on the dotted Pareto front in both.",
    "score_vs_length": "Average score over all tasks against the number of tokens that the LLM reads per text. Up and "
    "to the left is better; nothing beats the methods on the dotted Pareto front in both.",
    "throughput_vs_length": "Texts embedded per second against the length of the text, both axes logarithmic. Look "
    "for lines that cross: there the faster method changes with the length.",
    "cost_vs_length": "Milliseconds per text against the length of the text, both axes logarithmic, nothing before the "
    "texts. A line along the dotted guides grows in proportion to the length; one that turns upwards "
    "shows attention, one that is flatter the fixed cost of short texts.",
    "prefix_reuse": "Milliseconds per text with an instruction, or an instruction and examples, before every text: "
    "read for each text (filled), and read once for all (open) where the method allows it. A rank on "
    "the right that changes is a method that owes its place to what it must read again and again.",
    "shorter_faster": "By how many per cent causal2vec is shorter and faster than each rival: on documents, on "
    "queries, and on queries behind ever more examples of the rival's. Markers are measured, lines are the law of "
    "costs; the dashed lines are the paper's claim of up to 85 % fewer tokens and up to 82 % less time. Look which "
    "rival reaches them, from how many examples on, and whether it still does where it reads them once (open).",
    "published_savings": "By how many per cent fewer tokens causal2vec gives its LLM than each rival on every task of "
    "MTEB(eng, v1): for queries alone, for documents alone, and for all texts of a task as a benchmark run embeds "
    "them. On the right of the dashed line the paper's claim holds.",
    "scores_by_type": "Average score per type of task, trained methods filled and their untrained twins hollow. Where "
    "the bars of two methods overlap widely, the forest plot tells whether their difference is real.",
    "forest": "Score of each method minus that of a reference (causal2vec, where it is there), on average over all "
    "tasks and per type of task, with paired 95 % intervals over test items. Filled markers differ significantly; an "
    "interval that holds zero leaves open which of the two is better.",
    "ranks": "Mean rank of each method over all tasks, 1 being best; trained and untrained methods are ranked apart. "
    "A bar joins the methods beside its dots: no two of them differ significantly on average by the paired permutation "
    "test (not Nemenyi's, which such plots often use), each pair tested on its own.",
    "heatmap": "The score of every method on every task; the best of each group of columns is bold. Colour is the "
    "difference to the mean of that group on the task, so a column of one colour is a method that is better, or "
    "worse, throughout.",
    "ablations": "Average score of each value of an ablated setting minus that of the value which the method has "
    "otherwise, with paired 95 % intervals over test items. Filled markers differ significantly.",
    "audit": "Swap test on validation pairs: what each part of the embedding finds when every text has its own "
    "Contextual token, the mean token of all, or another text's. Where h(EOS) does not move, the LLM does not look at "
    "the token. Right: the share of attention that goes to it, by layer.",
    "loss_curves": "Training loss against step, as a running mean, one line per run. Losses of methods with different "
    "temperatures or negatives are not comparable; look for a course that has not yet flattened, or that jumps.",
}


def captions() -> dict[str, str]:
    """Base name of each figure's files -> one or two plain sentences on it."""
    return dict(_CAPTIONS)
