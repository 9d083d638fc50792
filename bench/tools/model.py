"""What all tools share: the model, its windows, its gradients, its size, and its perplexity."""

import json
import math
import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
from transformers import AutoModelForCausalLM

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Of the mean loss; exp of more is no float.
MAX_LOSS = 690
LOGIT_TOKENS = 128
BISECTIONS = 30
ATTEMPTS = 5
# Difference of fractions removed that needs no further attempt.
CLOSE = 0.002


def load(directory):
    """
    In float32. Attention is eager and there is no cache: two of the tools trace every operator from the inputs to the
    logits.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    model.config.use_cache = False
    return model


def windows(path):
    """Token ids by set, each [windows, T]."""
    with open(path) as file:
        return {name: torch.tensor(ids) for name, ids in json.load(file).items()}


def all_windows(path):
    """Token ids of all sets, [windows, T]."""
    return torch.cat(list(windows(path).values()))


def attach_gradients(model, path):
    """Gives every projection the gradients of gradients.py: `grad`, and LLM-Pruner's `acc_grad`."""
    gradients = torch.load(path)
    for name, parameter in projections(model):
        parameter.grad = gradients["first"][name]
        parameter.acc_grad = gradients["second"][name]


def projections(model):
    """Names and parameters of all attention and FFN projections."""
    return [(name, value) for name, value in model.named_parameters() if name.split(".")[-2] in PROJECTIONS]


def projection_parameters(model):
    return sum(value.numel() for _, value in projections(model))


def ratio_for(removed_at, fraction):
    """
    The largest ratio 0..1 at which at most `fraction` is removed, by bisection. `removed_at` gives the fraction removed
    at a ratio and does not fall.
    """
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if removed_at(middle) <= fraction else (low, middle)
    return low


def closest(attempt, context, fraction):
    """
    Where the fraction removed is known only after pruning: attempts in proportion to the last one. Takes the result
    closest to `fraction`; `attempt` gives a model and a note at a ratio.
    """
    best, ratio = None, fraction
    for _ in range(ATTEMPTS):
        model, note = attempt(ratio)
        removed = context.removed(model)
        if best is None or abs(removed - fraction) < abs(best[0] - fraction):
            best = (removed, model, note)
        if abs(removed - fraction) < CLOSE:
            break
        ratio = min(ratio * fraction / max(removed, 0.01), 1.0)
    return best[1:]


def hidden_states(model, ids):
    """Of one window after the last norm, [T, C]."""
    return model.model(input_ids=ids[None]).last_hidden_state[0]


def summed_losses(model, hidden, ids):
    """
    Next-token cross entropy of one window from its hidden states, summed over a few tokens at a time: logits of whole
    windows are slow to allocate.
    """
    targets = ids[1:]
    for start in range(0, len(targets), LOGIT_TOKENS):
        chunk = targets[start : start + LOGIT_TOKENS]
        logits = model.lm_head(hidden[start : start + len(chunk)])
        yield torch.nn.functional.cross_entropy(logits, chunk, reduction="sum")


@torch.no_grad()
def perplexities(model, sets):
    """exp of the mean next-token cross entropy over the T - 1 predictions of every window, by set."""
    model.eval()

    def perplexity(rows):
        total = sum(float(loss) for ids in rows for loss in summed_losses(model, hidden_states(model, ids), ids))
        return math.exp(min(total / (len(rows) * (rows.shape[1] - 1)), MAX_LOSS))

    return {name: perplexity(rows) for name, rows in sets.items()}
