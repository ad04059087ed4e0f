"""Whether a GPU learns what a processor learns: three steps of training on a small model, in every way there is."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import torch

from causal2vec.bench.gpu import shapes
from causal2vec.bench.gpu.stage import Stage
from causal2vec.bench.gpu.training import Outcome, adapted, our_trainer, outcome, texts_of
from causal2vec.config.settings import Budget, Lora
from causal2vec.errors import UserError

EXACT, HALF = 1e-4, 0.1
"""How far losses, and relatively norms of the gradient, may part: in float32, and in bfloat16."""

SAME = 1e-6
"""How far weights may part that were learnt with and without a stop."""

STEPS = 3
PAIRS, MINI = 16, 4
RATE = 2e-4


class School:
    """Small models on the processor, and trainings of copies of them."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        self.stage, self.scratch = stage, scratch
        self.size = stage.size._replace(pairs=PAIRS, trained=24)
        self.llm = shapes.random_model("mistral", self.size.small, "cpu", "float32")
        self.encoder = shapes.random_model("bert", shapes.SMALL_BERT, "cpu", "float32")
        self.texts = texts_of(self.size, 4 * PAIRS)
        self.trainings = 0

    def trainer(
        self, device: str, dtype: str = "float32", *, method: str = "causal2vec", steps: int = STEPS, **others: Any
    ) -> Any:
        """A trainer of a fresh copy; ``others`` are keys of the budget."""
        plain = Budget(
            steps=steps, batch_size=PAIRS, max_length=128, temperature=0.05, lora=Lora(rank=4, alpha=8), **others
        )
        llm = copy.deepcopy(self.llm).to(device, getattr(torch, dtype))
        encoder = copy.deepcopy(self.encoder).to(device)
        model = adapted(llm, encoder, plain, method)
        for name, child in model[0].named_children():  # as `causal2vec.training.lora.build_to_train` leaves it
            if name != "llm":
                child.float()
        size = self.size._replace(device=device, dtype=dtype)
        self.trainings += 1
        return our_trainer(model, self.texts, plain, self.scratch / str(self.trainings), size)

    def learn(self, device: str, dtype: str = "float32", **others: Any) -> Outcome:
        """Losses and norms of a training."""
        trainer = self.trainer(device, dtype, **others)
        trainer.train()
        return outcome(trainer)


def steps(stage: Stage) -> None:
    """All checks of training."""
    here = stage.size.device
    with tempfile.TemporaryDirectory() as scratch:
        school = School(stage, Path(scratch))
        plain = school.learn(here)
        for subject, differs, most in (
            (f"three steps on {here} beside the processor, float32", lambda: school.learn("cpu"), EXACT),
            ("three steps in bfloat16 beside float32", lambda: school.learn(here, "bfloat16"), HALF),
            ("gradient caching beside a whole batch, float32", lambda: school.learn(here, mini_batch_size=MINI), EXACT),
            (
                "gradient checkpointing beside none, float32",
                lambda: school.learn(here, gradient_checkpointing=True),
                EXACT,
            ),
        ):
            with stage.attempt(subject):
                stage.near(subject, apart(plain, differs()), most)
        for check in (_resumes, _reads_once, _stops):
            with stage.attempt((check.__doc__ or "").partition(".")[0]):
                check(school, here)
        subject = "FSDP of one process beside none, float32"  # last: it speaks to more of the machine than the others
        with stage.attempt(subject):
            stage.near(subject, apart(plain, _sharded(school, here)), EXACT)


def apart(one: Outcome, other: Outcome) -> float:
    """The largest difference of losses, and of norms relative to the norm; NaN where one is NaN."""
    parted = [abs(a - b) for a, b in zip(one.losses, other.losses, strict=True)]
    strayed = [abs(a / b - 1) for a, b in zip(one.norms, other.norms, strict=True)]
    return float(torch.tensor(parted + strayed).max())


def _resumes(school: School, device: str) -> None:
    """A training of four steps, and one that goes on from the checkpoint of its second."""
    whole = school.trainer(device, method="last_token", steps=4, save_steps=2)
    whole.train()
    again = school.trainer(device, method="last_token", steps=4, save_steps=2)
    again.train(resume_from_checkpoint=str(Path(whole.args.output_dir) / "checkpoint-2"))
    theirs = again.trainable()
    found = max(float((weight - theirs[name]).abs().max()) for name, weight in whole.trainable().items())
    school.stage.near("weights after a stop and a resumption", found, SAME)


def _reads_once(school: School, device: str) -> None:
    """Gradients behind an instruction that is read once, and with it every time, in bfloat16."""
    found = []
    for once in (True, False):
        trainer = school.trainer(device, "bfloat16", method="last_token")
        trainer.model[0].learns_prefix = once
        prompts = dict.fromkeys(school.texts, f"{shapes.INSTRUCTION} " * 4)
        trainer.args.prompts = prompts
        trainer.data_collator.prompts = prompts
        trainer.train()
        found.append(outcome(trainer))
    school.stage.near("an instruction read once in training beside every time, bfloat16", apart(*found), HALF)


def _sharded(school: School, device: str) -> Outcome:
    """FSDP with one process, which holds everything."""
    from torch import distributed

    from causal2vec.training.ranks import shard

    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        trainer = school.trainer(device)
        shard(trainer.model, device)
        trainer.sharded = True
        trainer.train()
        return outcome(trainer)
    finally:
        distributed.destroy_process_group()


def _stops(school: School, device: str) -> None:
    """A weight that is no number."""
    trainer = school.trainer(device)
    with torch.no_grad():
        next(p for p in trainer.model.parameters() if p.requires_grad).fill_(float("nan"))
    try:
        trainer.train()
        found = "the training went on"
    except UserError as error:
        found = f"stopped: {str(error)[:60]}…"
    school.stage.check("a weight that is NaN", "the training stops", found, found.startswith("stopped"))
