"""Alignment of the Contextual token: before anything else learns, the frozen LLM tells the encoder what it can read.

The encoder and the MLP learn, without labels, to make a token from which the LLM gets what it gets from the text
itself. A stage of our own (assumed: no source says that the paper has one), as masked-next-token prediction is a stage
of LLM2Vec. Four objectives:

* ``state``: the LLM reads ``[BOS][C][EOS]`` without the text; its state at EOS must be more like the one behind the
  same text without a token, ``[BOS]text[EOS]``, than like those of the batch's other texts (InfoNCE).
* ``swap``: the LLM reads a text with the token of another, ``[BOS][C of i]text j[EOS]``; its state at EOS must be more
  like the one behind text i than like those of the batch's other texts, text j among them (InfoNCE). So the token has
  to win against a text that says something else.
* ``bag``: the LLM reads ``[BOS][C]``; the text's tokens, in any order, must be likely to follow.
* ``text``: the LLM reads ``[BOS][C]text``; every next token must be likely.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import Tensor, nn
from torch.nn import functional
from transformers import set_seed

from causal2vec.config import Alignment
from causal2vec.config.runs import Run
from causal2vec.embedder import Role
from causal2vec.errors import UserError
from causal2vec.modeling_causal2vec import Causal2Vec
from causal2vec.runtime.files import atomic_folder, settle, sha256_json, sha256_tree, write_json
from causal2vec.runtime.machine import attention_backend
from causal2vec.training.contrastive import PROJECTION, module_settings, prepare_token
from causal2vec.training.lora import build_to_train
from causal2vec.training.stages import Computing, StageTrainer, read_stage_texts, run_trainer, stage_arguments


class AlignmentLoss(nn.Module):
    """How well the LLM reads the token alone; see the module's docstring.

    Args:
        model: Of one module, the method, its LLM frozen.
        objective: ``swap``, ``state``, ``bag`` or ``text``.
        temperature: Of ``swap`` and ``state``.
    """

    def __init__(self, model: SentenceTransformer, objective: str, temperature: float) -> None:
        super().__init__()
        self.model, self.objective, self.temperature = model, objective, temperature

    def forward(self, sentence_features: list[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The mean loss of a batch of texts."""
        features = sentence_features[0]
        module: Any = self.model[0]
        roles, mask = features["roles"], features["attention_mask"]
        text, token = roles == Role.TEXT, roles == Role.CONTEXTUAL
        if self.objective in ("swap", "state"):
            with torch.no_grad():
                goal = self._at_eos({**features, "attention_mask": mask * ~token})
            own = torch.arange(len(goal), device=goal.device)
            if self.objective == "state":
                found = self._at_eos({**features, "attention_mask": mask * ~text})
            else:
                own = own.roll(1)
                found = self._at_eos({**features, **{name: features[name][own] for name in ("pre_ids", "pre_mask")}})
            goal, found = functional.normalize(goal, dim=1), functional.normalize(found, dim=1)
            return functional.cross_entropy(found @ goal.T / self.temperature, own)
        vocabulary = module.llm.get_input_embeddings().weight
        if self.objective == "bag":
            states = module.states({**features, "attention_mask": mask * ~text}, token)
            logits = (states * token.unsqueeze(-1)).sum(dim=1) @ vocabulary.to(states.dtype).T
            rows, columns = text.nonzero(as_tuple=True)
            return -functional.log_softmax(logits.float(), dim=1)[rows, features["input_ids"][rows, columns]].mean()
        states = module.states(features)
        before = text[:, 1:].nonzero(as_tuple=True)
        logits = states[:, :-1][before] @ vocabulary.to(states.dtype).T
        return functional.cross_entropy(logits.float(), features["input_ids"][:, 1:][before])

    def _at_eos(self, features: dict[str, Tensor]) -> Tensor:
        """The state at EOS, ``(batch, width)``; every pass has a beginning of its own, so none is shared."""
        module: Any = self.model[0]
        last = features["roles"] == Role.EOS
        own = {**features, "head": torch.zeros_like(features["head"])}
        return (module.states(own, last) * last.unsqueeze(-1)).sum(dim=1).float()


def pretrain_alignment(
    run: Run, folders: dict[str, Path], pairs: Path, stage: Alignment, output: Path, state: Path, compute: Computing
) -> None:
    """Align a run's Contextual token and write the encoder to ``output``, with the MLP and ``alignment.json`` beside.

    Args:
        run: Of a method with a Contextual token; its seed is that of the MLP and of the order.
        folders: Model folder per part (``llm``, ``encoder``).
        pairs: Folder with ``train.parquet``, whose positives a stage without texts of its own reads.
        stage: The stage's settings.
        output: Appears whole or not at all; takes the encoder's place in the training that follows.
        state: Folder for checkpoints; a stage that was stopped goes on from there. Removed at the end.
        compute: Where, in which format and with which attention to compute.

    Raises:
        UserError: The method has no Contextual token, the loss is not finite, or the stage was stopped by a signal.
    """
    set_seed(run.seed)
    settings = {**module_settings(run), "max_seq_length": stage.max_length}
    backend = attention_backend(compute.attention, compute.device, compute.dtype)
    module: Any = build_to_train(run.spec.module, folders, settings, compute.dtype, backend)
    if not isinstance(module, Causal2Vec):
        raise UserError(
            f"methods.{run.method}.alignment is true, but {run.spec.module} has no Contextual token; remove it"
        )
    prepare_token(module.to(compute.device), folders, pairs)
    texts = read_stage_texts(stage, pairs / "train.parquet", run.seed, compute)
    module.llm.requires_grad_(False)
    model = SentenceTransformer(modules=[module.train()], device=compute.device)
    trainer = StageTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **stage_arguments(stage, run.seed, state, compute),
            dataloader_drop_last=True,
            learning_rate_mapping={r"\.0\.encoder\.": stage.encoder_rate},
        ),
        train_dataset=Dataset.from_dict({"text": texts}),
        loss=AlignmentLoss(model, stage.objective, stage.temperature),
        stage="alignment",
    )
    parts = [sha256_tree(folders[part]) for part in module.parts]
    work = {"run": run.model_dump(), "stage": stage.model_dump(), "parts": parts, "texts": sha256_json(texts)}
    done = run_trainer(trainer, state, {**work, "how": [compute.device, compute.dtype, backend]})
    names = {"seed": run.seed, "encoder": folders["encoder"].name, "texts_read": len(texts)}
    with atomic_folder(output) as draft:
        module.encoder.save_pretrained(draft)
        module.tokenizers["encoder"].save_pretrained(draft)
        save_file(module.projection.state_dict(), draft / PROJECTION)
        write_json(draft / "alignment.json", {**stage.model_dump(), **names, **done})
    settle(state, output, keep=compute.keep_state)
