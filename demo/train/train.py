"""Train the demo model on CPU.

Usage: python train.py TEXT_DIR MODEL_DIR WORK_DIR [--steps N] [--minutes M] [--losses FILE]

Reads the tokenizer in MODEL_DIR and writes the model there. WORK_DIR gets
checkpoints and, unless --losses names another file, losses.csv.

Muon moves the weight matrices of the blocks, AdamW the embedding and the
norms. The learning rate follows the larger of two fractions: steps done and
minutes used, so that the run always ends with a full decay.
"""

import argparse
import csv
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from data import Batches, load_streams
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 20
WARMUP = 40
MUON_RATE = 0.02
ADAM_RATE = 0.004
ROPE_THETA = 10000.0
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
}


def make_config() -> LlamaConfig:
    return LlamaConfig(
        **SHAPE,
        vocab_size=2048,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_theta=ROPE_THETA,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        attention_bias=False,
        mlp_bias=False,
    )


def orthogonalise(stack: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iteration on a stack of matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack.bfloat16()
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum followed by orthogonalisation, for matrices grouped by shape."""

    def __init__(self, matrices: list[torch.Tensor], momentum: float = 0.95, decay: float = 0.02) -> None:
        self.momentum = momentum
        self.decay = decay
        self.groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.buffers = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for shape, group in self.groups.items():
            gradient = torch.stack([matrix.grad for matrix in group])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(buffer, self.momentum))
            scale = rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, change in zip(group, update):
                matrix.mul_(1 - rate * self.decay).add_(change, alpha=-scale)


def rate_at(progress: float, step: int) -> float:
    """Warm up, stay level, then decay to zero over the last 55 percent."""
    return min(1.0, (step + 1) / WARMUP, (1 - progress) / 0.55)


def plain_config(config: LlamaConfig) -> dict[str, object]:
    """The fields of the configuration that describe the model."""
    names = [*SHAPE, "vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings"]
    names += ["bos_token_id", "eos_token_id", "attention_bias", "mlp_bias", "hidden_act", "initializer_range"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float16",
        **{name: getattr(config, name) for name in names},
        "rope_theta": ROPE_THETA,
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
        "use_cache": True,
    }


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model in half precision with the usual names and a tied head."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().half().contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight" and "rotary" not in name
    }
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(plain_config(model.config), indent=2) + "\n")


def loss_of(model: LlamaForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    config = make_config()
    model = LlamaForCausalLM(config)
    inner = [weight for name, weight in model.named_parameters() if ".layers." in name and weight.ndim == 2]
    chosen = {id(weight) for weight in inner}
    rest = [weight for weight in model.parameters() if id(weight) not in chosen]
    muon = Muon(inner)
    adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    print("parameters", sum(weight.numel() for weight in model.parameters()), "torch", torch.__version__, flush=True)
    streams = load_streams(arguments.text_dir, arguments.model_dir / "tokenizer.json")
    print("tokens", {kind: len(stream) for kind, stream in streams.items()}, flush=True)
    batches = Batches(streams, arguments.length, SEED)
    rows: list[tuple[int, float, float, float]] = []
    started, last, recent = time.time(), time.time(), []
    step, progress = 0, 0.0
    while progress < 1.0:
        rate = rate_at(progress, step)
        loss = loss_of(model, torch.from_numpy(batches.next(arguments.batch)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        muon.step(MUON_RATE * rate)
        for group in adam.param_groups:
            group["lr"] = ADAM_RATE * rate
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        progress = max(step / arguments.steps, (time.time() - started) / 60 / arguments.minutes)
        recent.append(loss.item())
        if not math.isfinite(recent[-1]):
            raise RuntimeError("the loss is not finite")
        if step % 20 == 0 or progress >= 1.0:
            rows.append((step, round(sum(recent) / len(recent), 4), round(rate, 4), round((time.time() - started) / 60, 2)))
            print(*rows[-1], f"{(time.time() - last) / len(recent):.3f} s/step", flush=True)
            last, recent = time.time(), []
        if step % 200 == 0:
            save(model, arguments.work_dir / "checkpoint")
    save(model, arguments.model_dir)
    losses = arguments.losses or arguments.work_dir / "losses.csv"
    losses.parent.mkdir(parents=True, exist_ok=True)
    with open(losses, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss", "rate", "minutes"])
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("text_dir", type=Path)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=43.0)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--losses", type=Path)
    train(parser.parse_args())
