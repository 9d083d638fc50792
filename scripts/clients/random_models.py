"""
Random models with configurations near those of the fixtures, and what PyTorch computes for them:

    random_models.py GOLDEN OUT COUNT SEED [FIXTURE ...]

For every fixture, a directory of GOLDEN, it changes one to four settings of config.json, COUNT times, and writes
OUT/FIXTURE-NUMBER with the model as transformers saves it, logits.safetensors (`input_ids` and `logits` of one text)
and changed.json. Configurations that transformers refuses, and models without finite logits, are left out.
"""

import json
import random
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig

TOKENS = 40
MAX_PARAMETERS = 6_000_000
SETTINGS = (1, 2, 3, 4)

# Settings without which the logits are the same, or whose change asks for another fixture altogether.
IGNORED = ("token_id", "drop", "label", "output_", "summary", "dtype", "version", "initializer", "classifier", "aux_")
KEPT = {"_name_or_path", "architectures", "model_type", "pretraining_tp", "use_cache", "vocab_size"}
KEPT |= {"is_encoder_decoder", "attention_layers", "chunk_size_feed_forward", "problem_type", "slow_but_exact"}
KEPT |= {"vocab_size_per_layer_input"}
# Those of Llama 4 that limit the texts for which gprune computes the same.
KEPT |= {"attention_chunk_size", "floor_scale"}

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model")
ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2")
SCALINGS = (
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 0.5},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 0.8},
    {
        **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 32,
    },
)


def rotation(value, dice):
    """Another rotation, or one for each type of layers."""
    if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
        return {name: rotation(each, dice) for name, each in value.items()}
    changed = {**dice.choice(SCALINGS), "rope_theta": dice.choice((500.0, 10_000.0, 1e6))}
    if isinstance(value, dict) and "partial_rotary_factor" in value:
        changed["partial_rotary_factor"] = dice.choice((0.25, 0.5, 1.0))
    return changed


def number(key, value, dice):
    """Another number for a setting."""
    if isinstance(value, float):
        return dice.choice((1e-6, 1e-3, 0.1)) if "eps" in key else value * dice.choice((0.25, 0.5, 1.5, 2.0)) or 0.5
    if key in LAYERS:
        return dice.choice((1, 2, 4, 5))
    if key in HIDDEN:
        return dice.choice((32, 48, 96, 128))
    if "position" in key or "max_" in key:
        return dice.choice((64, 128, 512))
    if "window" in key or "chunk" in key:
        return dice.choice((4, 8, 100))
    if "head_dim" in key or "rotary_dim" in key or "_rope_" in key:
        return dice.choice((8, 12, value + value % 2 + 2, 2 * value))
    return max(1, dice.choice((value // 2, 2 * value, value + 1, value + 3, 1, 2, 3, 6)))


def another(key, value, dice):
    """Another value of a setting."""
    if key in ("rope_parameters", "rope_scaling"):
        return rotation(value, dice)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return number(key, value, dice)
    if isinstance(value, str):
        return dice.choice(ACTIVATIONS) if "act" in key else value
    if isinstance(value, list) and value and isinstance(value[0], str):
        return dice.sample(value, len(value))
    if isinstance(value, list) and value and isinstance(value[0], (int, float)):
        place = dice.randrange(len(value))
        return [*value[:place], 2 * value[place] or 1, *value[place + 1 :]]
    return dice.choice((None, 2, 4, 8, 16)) if value is None else value


def changed_config(path, dice):
    """A configuration near a fixture's, and what is other in it."""
    own = json.loads((path / "config.json").read_text())
    kind = type(AutoConfig.from_pretrained(path))
    whole = json.loads(kind.from_dict(dict(own)).to_json_string(use_diff=False))
    keys = [key for key in whole if key not in KEPT and not any(part in key for part in IGNORED)]
    chosen = dice.sample(keys, min(len(keys), dice.choice(SETTINGS)))
    changed = {key: another(key, {**whole, **own}[key], dice) for key in chosen}
    config = {**own, **changed}
    layers = next(config[key] for key in LAYERS if key in config)
    for key, value in config.items():
        if isinstance(value, list) and value and ("layer" in key or "types" in key):
            config[key] = (value * layers)[:layers]
    return kind.from_dict(config), changed


def random_model(config, seed):
    """A model with weights as the fixtures have them (test/golden/README.md)."""
    torch.manual_seed(seed)
    # The automatic one does not know all classes.
    kind = getattr(transformers, config.architectures[0])
    model = kind._from_config(config, dtype=torch.float32).eval()
    corrections = [(name, buffer) for name, buffer in model.named_buffers() if "correction" in name]
    for name, weight in [*model.named_parameters(), *corrections]:
        if weight.dim() > 1:
            weight.normal_(0, 0.12)
        elif name.endswith("bias") and "dt_" not in name:
            weight.normal_(0, 0.1)
        else:
            weight.add_(0.1 * torch.randn_like(weight))
    model.tie_weights()
    return model


def write(fixture, out, seed, dice):
    """Writes a model. Returns whether there is one."""
    config, changed = changed_config(fixture, dice)
    # Without SDPA, the class of Falcon adds ALiBi twice.
    config._attn_implementation = "sdpa" if config.model_type == "falcon" else "eager"
    model = random_model(config, seed)
    ids = torch.randint(3, config.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(seed))
    logits = model(ids, use_cache=False).logits
    if sum(weight.numel() for weight in model.parameters()) > MAX_PARAMETERS or not logits.isfinite().all():
        return False
    model.save_pretrained(out)
    save_file({"input_ids": ids.int(), "logits": logits[0].contiguous()}, out / "logits.safetensors")
    (out / "changed.json").write_text(json.dumps(changed))
    return True


@torch.inference_mode()
def main(golden, root, count, seed, *names):
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    written = refused = 0
    for fixture in sorted(path for path in Path(golden).iterdir() if path.is_dir()):
        for number_ in range(int(count)) if not names or fixture.name in names else ():
            dice = random.Random(f"{seed} {fixture.name} {number_}")
            try:
                written += write(fixture, Path(root) / f"{fixture.name}-{number_}", number_, dice)
            except Exception:  # whatever the class refuses, in whichever way
                refused += 1
    print(f"{written} models; transformers refused {refused} configurations")


if __name__ == "__main__":
    main(*sys.argv[1:])
