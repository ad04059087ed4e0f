"""In-context examples: what stands before which text, that it is read once, and that no test text is among it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import METHODS, ROOT, STUDY, TEXTS, build, work_of
from test_plan import study

from causal2vec.config import Method, load_config
from causal2vec.config.prompts import ASYMMETRIC, Examples, Prompts, load_examples, load_prompts, prompts_of
from causal2vec.embedder import Role
from causal2vec.encoding import encode
from causal2vec.errors import UserError
from causal2vec.models.folder import load_model, save_model
from causal2vec.plan.estimate import Estimator
from causal2vec.speed.packing import PACKED

FILE = ROOT / "config" / "examples.yaml"
FORM = {
    "template": "<instruct>{instruction}\n<query>",
    "example": "<instruct>{instruction}\n<query>{query}\n<response>{response}",
}
EXAMPLES = Examples.model_validate(
    FORM
    | {
        "tasks": {"A": [{"query": "q{1}", "response": "r1"}, {"query": "q2", "response": "r2"}], "None": []},
        "types": {"STS": [{"query": "a", "response": "b"}], "Retrieval": [{"query": "c", "response": "d"}]},
        "sources": {"pairs": [{"query": "e", "response": "f"}]},
    }
)
PROMPTS = Prompts(
    types={"STS": "same", "Retrieval": "find"},
    sources={"pairs": "match", "others": "go", "bare": ""},
    symmetric=["pairs"],
).with_examples(EXAMPLES)
SHOWN = "<instruct>find it\n<query>one\n<response>two\n\n<instruct>find it\n<query>three\n<response>four\n\n"
ASKED = "<instruct>find it\n<query>"


def decoded(module, texts, prompt=None) -> list[str]:
    features = module.preprocess(texts, prompt)
    rows = zip(features["input_ids"], features["attention_mask"].bool(), strict=True)
    return [module.tokenizer.decode(ids[real]) for ids, real in rows]


def vectors(module, texts, prompt, *, reuse: bool) -> torch.Tensor:
    module.reuses_prefix = reuse
    with torch.no_grad():
        return module(module.preprocess(texts, prompt))["sentence_embedding"]


# -- prompts -----------------------------------------------------------------------------------------------


def test_examples_stand_before_the_instruction_of_their_task():
    shown = "<instruct>find\n<query>q{1}\n<response>r1\n\n<instruct>find\n<query>q2\n<response>r2\n\n"
    assert PROMPTS.for_task("A", "Retrieval") == f"{shown}<instruct>find\n<query>"
    assert PROMPTS.for_task("A", "Retrieval", document=True) == ""


def test_examples_of_a_type_are_for_tasks_without_their_own():
    assert PROMPTS.for_task("B", "STS", "ours") == "<instruct>ours\n<query>a\n<response>b\n\n<instruct>ours\n<query>"
    assert PROMPTS.for_task("None", "STS") == "<instruct>same\n<query>"  # the task has none, and says so
    assert PROMPTS.for_task("B", "Clustering", "group") == "<instruct>group\n<query>"
    assert PROMPTS.for_task("B", "Clustering") == ""


def test_training_sees_the_examples_of_its_source():
    prompt = "<instruct>match\n<query>e\n<response>f\n\n<instruct>match\n<query>"
    assert PROMPTS.for_training("pairs") == {"query": prompt, "positive": prompt}
    assert PROMPTS.for_training("others") == {"query": "<instruct>go\n<query>", "positive": ""}
    assert PROMPTS.for_training("bare") == {"query": "", "positive": ""}


def test_only_the_method_that_names_examples_gets_them(tmp_path):
    prompts = load_prompts(ROOT / "config" / "prompts.yaml")
    plain, shown = Method(module="a.B"), Method(module="a.B", examples=str(FILE))
    assert prompts_of(prompts, plain) == prompts
    found = prompts_of(prompts, shown)
    assert found.for_task("LeeNewsSTS", "STS").count("<response>") == 2
    assert Prompts(**found.model_dump()) == found  # as it goes through a job's params


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist; set methods.*.examples to a file of examples"),
        ({**FORM, "task": {}}, "is no examples file: unknown key 'task' (did you mean 'tasks'?)"),
        ({"template": FORM["template"]}, "key 'example' is missing"),
        ({**FORM, "template": "<instruct>\n<query>"}, "template: it must hold {instruction} and no other"),
        ({**FORM, "template": "{instruction}\n<query>"}, "template: it must begin with <instruct>"),
        ({**FORM, "example": "<instruct>{instruction}"}, "it must hold {instruction}, {query}, {response}"),
        ({**FORM, "example": "<instruct>{instruction} {"}, "example: it must hold {instruction}, {query}, {response}"),
        ({**FORM, "tasks": {"A": [{"query": "q"}]}}, "key 'tasks.A.0.response' is missing"),
        ({**FORM, "tasks": {"A": [{"query": "q", "response": ""}]}}, "at least 1 character"),
    ],
)
def test_files_that_hold_no_examples_are_named(content, words, tmp_path: Path):
    path = tmp_path / "e.yaml"
    if content is not None:
        path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as error:
        load_examples(path)
    assert words in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


# -- the file in config/ -----------------------------------------------------------------------------------


def test_the_shipped_examples_are_of_known_tasks_and_of_all_sources():
    shipped = load_examples(FILE)
    demo, paper = (load_prompts(ROOT / "config" / name) for name in ("prompts.yaml", "prompts_paper.yaml"))
    assert set(shipped.tasks) == set(demo.tasks)
    assert set(shipped.types) == set(demo.types)
    assert set(shipped.sources) == {*demo.sources, *paper.sources}
    for kind in (shipped.tasks, shipped.types, shipped.sources):
        assert {len(examples) for examples in kind.values()} == {2}


def test_no_example_is_an_evaluation_text(task_data):
    """Labels aside: what a classification answers with is not embedded."""
    from causal2vec.data.pairs.decontaminate import contaminated, index_texts
    from causal2vec.evaluation.tasks import PACKAGED_TASKS, get_tasks, task_texts

    texts: set[str] = set()
    for task in get_tasks(list(PACKAGED_TASKS), task_data):
        task.load_data()
        texts |= set(task_texts(task))
        if task.metadata.type == "Classification":
            texts |= set(task.dataset["train"]["text"])
    known = {" ".join(text.lower().split()) for text in texts}
    shipped = load_examples(FILE)
    every = [e for kind in (shipped.tasks, shipped.types, shipped.sources) for each in kind.values() for e in each]
    shown = sorted({text for example in every for text in (example.query, example.response)})
    assert len(known) > 3000 and len(shown) > 80
    assert [text for text in shown if " ".join(text.lower().split()) in known] == []
    index = index_texts(texts, 8)
    assert [text for text, found in zip(shown, contaminated(shown, index), strict=True) if found] == []
    assert contaminated([next(text for text in sorted(texts) if len(text.split()) > 12)], index).all()


# -- the method --------------------------------------------------------------------------------------------


def test_a_query_stands_between_its_instruction_and_its_response(tiny):
    module = build("in_context", tiny)
    assert decoded(module, ["Short"], SHOWN + ASKED) == [f"<bos>{SHOWN}{ASKED}Short\n<response><eos>"]
    assert decoded(module, ["Short"], ASKED) == [f"<bos>{ASKED}Short\n<response><eos>"]


def test_a_document_stands_bare(tiny):
    module = build("in_context", tiny)
    assert decoded(module, ["Short", ""]) == ["<bos>Short<eos>", "<bos><eos><eos>"]


def test_without_examples_the_template_stays(tiny):
    module = build("in_context", tiny, shows_examples=False)
    assert decoded(module, ["Short"], SHOWN + ASKED) == [f"<bos>{ASKED}Short\n<response><eos>"]


def test_the_vector_is_the_state_at_eos(tiny):
    module = build("in_context", tiny)
    features = module.preprocess(TEXTS, SHOWN + ASKED)
    assert (features["roles"] == Role.EOS).sum(dim=1).tolist() == [1] * len(TEXTS)
    with torch.no_grad():
        states, found = module.states(features), module(features)["sentence_embedding"]
    assert torch.equal(found, states[:, -1].float())


def test_examples_do_not_eat_the_texts_room(tiny):
    """A long text keeps as many tokens with examples as without, and its end."""
    long = ["word " * 500]
    without, with_examples = (build("in_context", tiny, max_seq_length=100, shows_examples=s) for s in (False, True))
    plain = without.preprocess(long, SHOWN + ASKED)
    shown = with_examples.preprocess(long, SHOWN + ASKED)
    examples = len(with_examples.tokenizer(SHOWN, add_special_tokens=False)["input_ids"])
    assert plain["input_ids"].shape[1] == 100
    assert shown["input_ids"].shape[1] == 100 + examples
    assert shown["input_ids"][0, 1 + examples :].tolist() == plain["input_ids"][0, 1:].tolist()
    assert decoded(with_examples, long, SHOWN + ASKED)[0].endswith("\n<response><eos>")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"examples_max_length": 20},
            r"in-context examples take \d+ tokens, more than examples_max_length=20; shorten",
        ),
        ({"max_seq_length": 20}, "leave none for the text"),
    ],
)
def test_what_does_not_fit_is_named(settings, words, tiny):
    module = build("in_context", tiny, **settings)
    with pytest.raises(ValueError, match=words):
        module.preprocess(["text"], SHOWN + ASKED)


# -- examples are read once --------------------------------------------------------------------------------


def test_all_queries_of_a_task_share_the_examples(tiny):
    module = build("in_context", tiny)
    prefix = module.tokenizer(SHOWN, add_special_tokens=False)["input_ids"]
    features = module.preprocess(TEXTS, SHOWN + ASKED)
    assert int(features["head"][0]) > len(prefix)
    assert int(module.preprocess(TEXTS)["head"][0]) == 1  # documents share BOS


@pytest.mark.parametrize("base", ["tiny", "demo"])
def test_vectors_are_those_of_examples_read_every_time(base, request):
    folders = request.getfixturevalue("tiny") if base == "tiny" else None
    if folders is None:
        folders = {"llm": request.getfixturevalue("demo_models")["SmolLM2-135M-Instruct"]}
    module = build("in_context", folders, add_bos=True)
    expected = vectors(module, TEXTS, SHOWN + ASKED, reuse=False)
    found = vectors(module, TEXTS, SHOWN + ASKED, reuse=True)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(found), unit(expected), rtol=0, atol=1e-5)
    module.llm.set_attn_implementation("sdpa")  # padded, as transformers does it
    torch.testing.assert_close(
        unit(vectors(module, TEXTS, SHOWN + ASKED, reuse=False)), unit(expected), rtol=0, atol=1e-5
    )
    assert (unit(vectors(module, TEXTS, ASKED, reuse=False)) - unit(expected)).abs().max() > 1e-3


def test_a_whole_run_reads_the_examples_once(tiny):
    from sentence_transformers import SentenceTransformer

    module = build("in_context", tiny)
    model = SentenceTransformer(modules=[module], device="cpu")
    seen: list[int] = []
    hook = module.llm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    found = encode(model, TEXTS * 4, prompt=SHOWN + ASKED, batch_tokens=60)
    hook.remove()
    head = int(module.preprocess(TEXTS, SHOWN + ASKED)["head"][0])
    own = sum(int(module.preprocess([t], SHOWN + ASKED)["attention_mask"].sum()) - head for t in TEXTS * 4)
    assert len(seen) > 3 and seen[0] == head and sum(seen[1:]) == own
    module.reuses_prefix = False
    again = model.encode(TEXTS * 4, prompt=SHOWN + ASKED)
    np.testing.assert_allclose(found, again, rtol=1e-3, atol=1e-4)


def test_training_reads_them_once_with_the_same_gradients(tiny):
    gradients = []
    for learns in (False, True):
        module = build("in_context", tiny).train()
        module.llm.config._attn_implementation = PACKED
        module.learns_prefix = learns
        found = module(module.preprocess(TEXTS, SHOWN + ASKED))["sentence_embedding"]
        (found * torch.linspace(-1, 1, found.numel()).reshape(found.shape)).sum().backward()
        gradients.append([p.grad for p in module.parameters() if p.grad is not None])
    for plain, shared in zip(*gradients, strict=True):
        assert plain.abs().max() > 1e-3
        torch.testing.assert_close(shared, plain, rtol=1e-3, atol=1e-5 * float(plain.abs().max()))


def test_saved_settings_come_back(tiny, tmp_path):
    module = build("in_context", tiny, examples_max_length=300, shows_examples=False)
    manifest = {"method": "in_context", "base": "tiny", "seed": 0, "trained": False}
    save_model(module, tmp_path / "model", manifest=manifest, records={})
    opened = load_model(str(tmp_path / "model"), "cpu", "float32")
    assert (opened[0].examples_max_length, opened[0].shows_examples) == (300, False)
    expected = vectors(module, TEXTS, SHOWN + ASKED, reuse=False).numpy()
    np.testing.assert_allclose(opened.encode(TEXTS, prompt=SHOWN + ASKED), expected, atol=1e-5)


# -- the workflow ------------------------------------------------------------------------------------------


def test_an_edited_example_concerns_only_the_method_that_is_shown_it(tiny, tmp_path):
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    config["models"] = {
        "llm": {"kind": "llm", "source": "local", "path": str(tiny["llm"])},
        "encoder": {"kind": "encoder", "source": "local", "path": str(tiny["encoder"])},
    }
    config |= {"study": STUDY, "bases": ["llm"], "encoder": "encoder", "ablations": {}, "efficiency": {}}
    examples = tmp_path / "examples.yaml"
    examples.write_text(FILE.read_text())
    shown = {"module": METHODS["in_context"][0], "examples": str(examples), "zero_shot": True, "trained": False}
    plain = {"module": METHODS["last_token"][0], "zero_shot": True, "trained": False}
    config["methods"] = {"in_context": shown, "last_token": plain}
    config["evaluation"] |= {"prompts": str(ROOT / "config" / "prompts.yaml")}
    config["reporting"] = {name: str(ROOT / "config" / f"{name}.yaml") for name in ("tables", "claims")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    made = [f"results/tiny/models/{name}-zero_shot/llm/seed0" for name in ("in_context", "last_token")]

    def snakemake(*words: str) -> str:
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path]
        command += ["--configfile", tmp_path / "c.yaml", "--cores", "2", *words, "--", *made]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    for folder in ("work/tiny/pairs", "work/tiny/models/llm", "work/tiny/models/encoder", *made):
        (tmp_path / folder).mkdir(parents=True)
    (work_of(tmp_path) / "hardware.json").write_text("{}")
    snakemake("--touch")
    assert "Nothing to be done" in snakemake("--dry-run")
    examples.write_text(FILE.read_text().replace("violin", "oboe"))
    after = snakemake("--dry-run")
    assert "Making in_context-zero_shot" in after and "Making last_token" not in after


def test_the_command_line_shows_examples_only_before_instructions(tmp_path):
    words = ["--model", tmp_path, "--tasks", "LeeNewsSTS", "--output", tmp_path / "scores", "--examples", FILE]
    done = subprocess.run(
        [sys.executable, "-m", "causal2vec.evaluation", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "--examples needs --prompts too" in done.stderr


def test_a_plan_asks_each_method_with_its_own_prompts(tiny, tmp_path):
    shown = {"module": METHODS["in_context"][0], "examples": str(FILE)}
    plain = {"module": METHODS["last_token"][0]}
    config = load_config(study(tiny, methods={"in_context": shown, "last_token": plain}))
    estimator = Estimator(config, load_prompts(ROOT / "config" / "prompts.yaml"), "cpu", "float32", tmp_path)
    asked = {name: prompts for name, (_, _, prompts, _) in estimator.tasks.items()}
    assert asked["WordSim353STS"][None] == "Instruct: Retrieve words that are related in meaning\nQuery: "
    assert asked["WordSim353STS"][str(FILE)].count("<response>") == 2


def test_documents_are_those_that_the_prompts_leave_bare():
    prompts = prompts_of(load_prompts(ROOT / "config" / "prompts_paper.yaml"), Method(module="a.B", examples=str(FILE)))
    for kind in load_examples(FILE).types:
        assert prompts.for_task("new", kind).startswith("<instruct>")
        assert (prompts.for_task("new", kind, document=True) == "") is (kind in ASYMMETRIC)
