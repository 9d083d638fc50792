"""
Client for Hugging Face directories in transformers; see program.ts. Also checks that the model computes the same after
saving and loading, and that a directory with code of its own does not load without trust_remote_code.
"""

import os
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
from program import answer_cases
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import BaseStreamer


def load(path, trusted, **options):
    """Loads a model to compute in float32, whatever its stored dtype."""
    model = AutoModelForCausalLM.from_pretrained(
        path, trust_remote_code=trusted, torch_dtype=torch.float32, **options
    )
    model.generation_config.eos_token_id = None
    return model.eval()


class Clock(BaseStreamer):
    """Records the times at which the prompt and every token after it arrive."""

    def __init__(self):
        self.times = []

    def put(self, value):
        self.times.append(time.perf_counter())

    def end(self):
        pass


def refused_without_trust(path):
    try:
        AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False)
    except ValueError as error:
        return "trust_remote_code" in str(error)
    return False


def problems_of(model, case, ids, logits):
    if case["remoteCode"] and not refused_without_trust(case["path"]):
        yield "loads without trust_remote_code"
    # transformers leaves this key out of what it saves.
    eager = getattr(model.config, "_experts_implementation", None) == "eager"
    options = {"experts_implementation": "eager"} if eager else {}
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        if not torch.equal(load(saved, case["remoteCode"], **options)(ids).logits[0], logits):
            yield "differs after saving and loading"


def answer(case):
    if case["threads"] is not None:
        torch.set_num_threads(case["threads"])
    model = load(case["path"], case["remoteCode"])
    tokenized = None
    if case["text"] is not None:
        tokenizer = AutoTokenizer.from_pretrained(case["path"])
        tokenized = tokenizer(case["text"], add_special_tokens=False)["input_ids"]
    ids = torch.tensor([case["ids"]])
    logits = model(ids).logits[0]
    if case["logits"] is not None:
        logits.numpy().tofile(case["logits"])
    clock = Clock()
    mask = torch.ones_like(ids)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=case["tokens"], do_sample=False, use_cache=True, streamer=clock
    )
    return {
        "id": case["id"],
        "tokenized": tokenized,
        "generated": out[0, ids.shape[1] :].tolist(),
        "promptSeconds": clock.times[1] - clock.times[0],
        "decodeSeconds": clock.times[-1] - clock.times[1],
        "problems": list(problems_of(model, case, ids, logits)) if case["logits"] is not None else [],
    }


if __name__ == "__main__":
    answer_cases(torch.inference_mode()(answer))
