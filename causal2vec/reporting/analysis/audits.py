"""The audits of a study: are kept states spread, and does the LLM use its Contextual token?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from causal2vec.errors import UserError
from causal2vec.reporting.analysis.summary import Entry, pairs
from causal2vec.runtime.files import read_json

KEY = ["method", "base", "seed"]


def read_audit(path: Path) -> pd.DataFrame:
    """Read ``audit.json``, one row per trained model, its nested records as columns such as ``mrr_own_eos``.

    Attention is the mean over layers. What a method without a Contextual token does not have is NaN.

    Raises:
        UserError: The file is not what `causal2vec.evaluation.audit` writes, or describes a model twice.
    """
    records = read_json(path)
    try:
        frame = pd.DataFrame([_flat(record) for record in records])
        if frame.empty:
            return frame
        twice = frame[frame.duplicated(KEY)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not hold the audits of models ({error}); run the study again") from error
    if len(twice):
        raise UserError(f"{path} describes {' / '.join(map(str, twice.iloc[0][KEY]))} twice; collect the audits again")
    return frame.sort_values(KEY, ignore_index=True)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {key: record[key] for key in KEY}
    row |= {f"mrr_{swap}_{part}": value for swap, parts in record["mrr"].items() for part, value in parts.items()}
    row |= {f"{name}_{part}": value for part, spread in record["spread"].items() for name, value in spread.items()}
    row |= {f"moved_{swap}_{part}": v for swap, parts in record.get("moved", {}).items() for part, v in parts.items()}
    row |= {f"attention_{part}": sum(v) / len(v) for part, v in record.get("attention", {}).items()}
    row |= {f"loss_{name}": value for name, value in record.get("loss_without", {}).items()}
    return {**row, "token_used": record.get("token_used"), "layers": record.get("attention", {})}


def ignored_tokens(audit: pd.DataFrame | None) -> dict[Entry, str]:
    """The entries whose LLM does not use its Contextual token, with what the swap test found, in words.

    Of several seeds one is enough: an average over models of which some do not do what their paper says is none.
    """
    found: dict[Entry, str] = {}
    if audit is None or audit.empty:
        return found
    for entry in dict.fromkeys(pairs(audit)):
        rows = audit[(audit["method"] == entry[0]) & (audit["base"] == entry[1])]
        bad = rows[[used is False for used in rows["token_used"]]]
        if len(bad):
            loss, low, high = (bad[f"loss_{name}"].mean() for name in ("points", "low", "high"))
            seeds = f" on {len(bad)} of {len(rows)} seeds" if len(rows) > 1 else ""
            found[entry] = (
                f"the LLM does not use its Contextual token{seeds}: with the mean token instead of the text's own, "
                f"h(EOS) loses {loss:.1f} points of MRR ({low:.1f} to {high:.1f}) on validation pairs"
            )
    return found
