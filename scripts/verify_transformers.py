"""
The Python half of verify_transformers.ts: loads each directory of a list of cases with transformers and compares its
logits, its greedy tokens with a cache, and what is left after saving and loading again. Exits 1 when anything differs.
"""

import json
import os
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

TOLERANCE = 2e-3


def load(path, trusted):
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=trusted, torch_dtype=torch.float32)
    model.generation_config.eos_token_id = None
    return model.eval()


def greedy(model, ids, count):
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, use_cache=True)
    return out[0, ids.shape[1] :].tolist()


def refused_without_trust(path):
    try:
        AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False)
    except ValueError as error:
        return "trust_remote_code" in str(error)
    return False


def differences(case):
    """What is wrong with a case, and its largest difference of logits."""
    model = load(case["path"], case["remoteCode"])
    ids = torch.tensor([case["ids"]])
    with torch.no_grad():
        logits = model(ids).logits[0]
    expected = torch.from_numpy(np.fromfile(case["logits"], dtype=np.float32)).view_as(logits)
    distance = (logits - expected).abs().max().item()
    problems = [] if distance < TOLERANCE else ["logits differ"]
    if greedy(model, ids, len(case["generated"])) != case["generated"]:
        problems.append("greedy tokens differ")
    if case["remoteCode"] and not refused_without_trust(case["path"]):
        problems.append("loads without trust_remote_code")
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        with torch.no_grad():
            if not torch.equal(load(saved, case["remoteCode"])(ids).logits[0], logits):
                problems.append("differs after saving and loading")
    return type(model).__name__, distance, problems


def main(manifest):
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    failed = 0
    with open(manifest) as file:
        cases = json.load(file)
    for case in cases:
        try:
            name, distance, problems = differences(case)
        except Exception as error:
            name, distance, problems = "-", float("nan"), [f"{type(error).__name__}: {error}"]
        failed += len(problems) > 0
        print(f"{case['name']}: {name}, {distance:.1e}{''.join(f'; {problem}' for problem in problems)}", flush=True)
    print(f"{len(cases) - failed} of {len(cases)} agree")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
