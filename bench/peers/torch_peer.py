"""
The peer of PyTorch and transformers; see jobs.ts. Calibration and gate gradients are written from their formulas, as in
the published programs: with hooks on the inputs of o_proj and down_proj, and calibration layer by layer.

FLAP (arXiv 2312.11983), WIFV: s_j = Var x_j * sum_i W_ij^2. Wanda-sp (arXiv 2306.11695, in FLAP's comparison):
s_j = mean_i |W_ij| * sqrt(E x_j^2). x is the input of o_proj or down_proj, W [C, channels] its weight, and all moments are
over the tokens of all windows.
"""

import contextlib
import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch
from transformers import AutoModelForCausalLM


def output_projections(layer):
    """Projections whose inputs are the channels of a layer's units, by kind of space."""
    return {"kv": layer.self_attn.o_proj, "ffn": layer.mlp.down_proj}


def batches_of(windows, size):
    return [torch.tensor(windows[start : start + size]) for start in range(0, len(windows), size)]


class Moments:
    """Sums over tokens of x and x^2: float32 within a batch, float64 over batches."""

    def __init__(self):
        self.tokens, self.sum, self.squares = 0, 0, 0

    def add(self, x):
        x = x.reshape(-1, x.shape[-1]).float()
        self.tokens += len(x)
        self.sum = self.sum + x.sum(0).double()
        self.squares = self.squares + (x * x).sum(0).double()


@torch.no_grad()
def calibrate(model, sets, size):
    """Takes all windows through a layer before the next one."""
    decoder = model.model
    queue = [(name, ids) for name, windows in sets.items() for ids in batches_of(windows, size)]
    hidden = [decoder.embed_tokens(ids) for _, ids in queue]
    positions = torch.arange(hidden[0].shape[1])[None]
    angles = decoder.rotary_emb(hidden[0], positions)
    moments = {}
    owner = None

    def tap(index, kind):
        def hook(_, inputs):
            moments.setdefault((owner, index, kind), Moments()).add(inputs[0])

        return hook

    for index, layer in enumerate(decoder.layers):
        hooks = [p.register_forward_pre_hook(tap(index, kind)) for kind, p in output_projections(layer).items()]
        for place, (owner, _) in enumerate(queue):
            out = layer(hidden[place], attention_mask=None, position_ids=positions, position_embeddings=angles)
            hidden[place] = out[0] if isinstance(out, tuple) else out
        for hook in hooks:
            hook.remove()
    return lambda: scores(decoder, sets, moments)


def scores(decoder, sets, moments):
    flap, wanda = {}, {}
    for index, layer in enumerate(decoder.layers):
        for kind, projection in output_projections(layer).items():
            by_set = [moments[name, index, kind] for name in sets]
            tokens = sum(m.tokens for m in by_set)
            mean, square = sum(m.sum for m in by_set) / tokens, sum(m.squares for m in by_set) / tokens
            weight = projection.weight.detach().double()
            space = f"layers.{index}.{kind}"
            flap[space] = ((square - mean**2) * (weight**2).sum(0)).tolist()
            wanda[space] = (weight.abs().mean(0) * square.sqrt()).tolist()
    return {"flap-wifv": flap, "wanda-sp": wanda}


def gradients(model, sets, size):
    """Backpropagates through the whole model; a gate for every channel and window scales the channel."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    gates, found, losses = {}, {}, []

    def tap(space):
        def hook(_, inputs):
            x = inputs[0]
            gates[space] = torch.ones(x.shape[0], 1, x.shape[-1], requires_grad=True)
            return (x * gates[space],)

        return hook

    for index, layer in enumerate(model.model.layers):
        for kind, projection in output_projections(layer).items():
            projection.register_forward_pre_hook(tap(f"layers.{index}.{kind}"))
    for ids in batches_of([window for windows in sets.values() for window in windows], size):
        logits = model(ids, use_cache=False).logits[:, :-1].float()
        # Flattened to [tokens, V]: along other axes than the last, PyTorch sums one by one, with errors of 1e-4.
        nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = nll.view(len(ids), -1).mean(1)
        loss.sum().backward()
        losses.append(loss.detach())
        for space, gate in gates.items():
            found.setdefault(space, []).append(gate.grad.reshape(-1))
        del logits, nll, loss
    return lambda: {
        "gates": {space: torch.cat(parts).tolist() for space, parts in found.items()},
        "loss": {"windows": torch.cat(losses).tolist()},
    }


@torch.no_grad()
def evaluate(model, sets, size):
    """Perplexity from transformers' own loss, the mean over the predictions of a batch."""
    ppl = {}
    for name, windows in sets.items():
        nll = sum(float(model(ids, labels=ids, use_cache=False).loss) * len(ids) for ids in batches_of(windows, size))
        ppl[name] = [torch.tensor(nll / len(windows), dtype=torch.float64).exp().item()]
    return lambda: {"ppl": ppl}


def peak_bytes():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main(path):
    with open(path) as file:
        request = json.load(file)
    with open(request["windows"]) as file:
        sets = json.load(file)
    torch.set_num_threads(request["threads"])
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32).eval()
    job = {"calibrate": calibrate, "gradients": gradients, "evaluate": evaluate}[request["job"]]
    casting = request["precision"] == "bfloat16"
    start_bytes = peak_bytes()
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if casting else contextlib.nullcontext():
        finish = job(model, sets, request["batch"])
    answer = {"seconds": time.perf_counter() - start, "startBytes": start_bytes, "peakBytes": peak_bytes()}
    with open(request["answer"], "w") as file:
        json.dump({**answer, "values": finish()}, file)


if __name__ == "__main__":
    main(sys.argv[1])
