"""Measure the demo model and how narrow calibration damages it.

Usage: python evaluate.py TEXT_DIR MODEL_DIR DEMO_TEXTS [--table FILE]

The first table compares the model with a unigram model on held-out text. The
second removes feed-forward neurons with a simple activation-weighted score,
taken from one kind of text or from all kinds together.
"""

import argparse
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from data import load_streams
from transformers import AutoTokenizer, LlamaForCausalLM, logging

WINDOW = 256
CALIBRATION_WINDOWS = 48


def windows(tokenizer, path: Path, limit: int | None = None) -> torch.Tensor:
    """Non-overlapping windows of a text file, without special tokens."""
    ids = tokenizer(path.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    count = len(ids) // WINDOW
    stack = torch.tensor(ids[: count * WINDOW]).view(count, WINDOW)
    return stack if limit is None else stack[:: max(1, count // limit)][:limit]


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, stack: torch.Tensor) -> float:
    total, count = 0.0, 0
    for part in stack.split(16):
        logits = model(part, use_cache=False).logits[:, :-1]
        total += F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
        count += part[:, 1:].numel()
    return float(torch.tensor(total / count).exp())


def unigram_perplexity(counts: torch.Tensor, stack: torch.Tensor) -> float:
    logs = ((counts + 1) / (counts + 1).sum()).log()
    return float((-logs[stack[:, 1:]].mean()).exp())


@torch.no_grad()
def neuron_scores(model: LlamaForCausalLM, stack: torch.Tensor) -> list[torch.Tensor]:
    """Norm of the outgoing weights times the root mean square of each neuron."""
    squares = [torch.zeros(layer.mlp.down_proj.in_features) for layer in model.model.layers]
    hooks = []
    for square, layer in zip(squares, model.model.layers):
        def add(_module, inputs, square=square):
            square += inputs[0].flatten(0, 1).square().sum(0)
        hooks.append(layer.mlp.down_proj.register_forward_pre_hook(add))
    for part in stack.split(16):
        model(part, use_cache=False)
    for hook in hooks:
        hook.remove()
    return [
        (square / stack.numel()).sqrt() * layer.mlp.down_proj.weight.norm(dim=0)
        for square, layer in zip(squares, model.model.layers)
    ]


@torch.no_grad()
def pruned(model: LlamaForCausalLM, scores: list[torch.Tensor], share: float) -> LlamaForCausalLM:
    """A copy of the model without its lowest neurons in each layer."""
    small = copy.deepcopy(model)
    for score, layer in zip(scores, small.model.layers):
        kept = score.argsort(descending=True)[: score.numel() - round(share * score.numel())].sort().values
        for name, axis in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
            linear = getattr(layer.mlp, name)
            linear.weight = torch.nn.Parameter(linear.weight.index_select(axis, kept))
    return small


def row(name: str, values: list[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def header(first: str, kinds: list[str]) -> list[str]:
    return [f"| {first} | " + " | ".join(kinds) + " |", "| --- |" + " ---: |" * len(kinds)]


def quality_table(model, counts, heldout) -> list[str]:
    lines = header("Model", list(heldout))
    lines.append(row("unigram, all kinds", [unigram_perplexity(sum(counts.values()), stack) for stack in heldout.values()]))
    lines.append(row("unigram, own kind", [unigram_perplexity(counts[kind], stack) for kind, stack in heldout.items()]))
    lines.append(row("this model", [perplexity(model, stack) for stack in heldout.values()]))
    return lines


def pruning_table(model, calibration, heldout, share: float) -> list[str]:
    lines = header(f"Calibrated on ({share:.0%} removed)", list(heldout))
    mixed = torch.cat([stack[:: len(calibration)] for stack in calibration.values()])
    kept = {}
    for kind, stack in {**calibration, "all kinds": mixed}.items():
        scores = neuron_scores(model, stack)
        kept[kind] = [set(score.argsort()[round(share * score.numel()) :].tolist()) for score in scores]
        small = pruned(model, scores, share)
        lines.append(row(kind, [perplexity(small, one) for one in heldout.values()]))
    generator = torch.Generator().manual_seed(0)
    shuffled = [torch.rand(layer.mlp.down_proj.in_features, generator=generator) for layer in model.model.layers]
    lines.append(row("at random", [perplexity(pruned(model, shuffled, share), one) for one in heldout.values()]))
    names = list(calibration)
    overlaps = [
        len(one & two) / len(one)
        for at, first in enumerate(names)
        for second in names[at + 1 :]
        for one, two in zip(kept[first], kept[second])
    ]
    lines.append("")
    lines.append(f"Kept neurons shared by two kinds, mean over pairs and layers: {sum(overlaps) / len(overlaps):.0%}.")
    return lines


def main(arguments: argparse.Namespace) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model_dir)
    model = LlamaForCausalLM.from_pretrained(arguments.model_dir, dtype=torch.float32).eval()
    streams = load_streams(arguments.text_dir, arguments.model_dir / "tokenizer.json")
    size = model.config.vocab_size
    counts = {kind: torch.bincount(torch.from_numpy(stream.astype("int64")), minlength=size) for kind, stream in streams.items()}
    heldout = {kind: windows(tokenizer, arguments.texts / "heldout" / f"{kind}.txt") for kind in streams}
    calibration = {
        kind: windows(tokenizer, arguments.texts / "calibration" / f"{kind}.txt", CALIBRATION_WINDOWS) for kind in streams
    }
    lines = quality_table(model, counts, heldout)
    for share in arguments.shares:
        lines += ["", *pruning_table(model, calibration, heldout, share)]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.table is not None:
        arguments.table.write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("text_dir", type=Path)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.35, 0.5])
    parser.add_argument("--table", type=Path)
    main(parser.parse_args())
