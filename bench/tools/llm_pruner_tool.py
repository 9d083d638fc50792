"""
LLM-Pruner (https://github.com/horseee/LLM-Pruner, arXiv 2305.11627) from a checkout, as its llama3.py drives it
block-wise: KV groups and FFN neurons of all layers but the first and last ones. No LoRA tuning follows.

Options: `importance` l1, l2 or a Taylor expansion (param_first, param_second, param_mix, vectorize) over all
calibration windows, where the script has ten of 64 tokens; `spared`: numbers of first and last layers that are left as
they are, of 32 layers 4 and 2 in the README, 3 and 1 by the script's defaults; `scope` local or global; `attention`:
whether attention is pruned, which it is not with an empty range of attention layers.
"""

import sys
import types
from importlib.util import find_spec

import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from model import closest, ratio_for


def import_without_other_families():
    """
    The packages' own __init__ files import code for ChatGLM and Baichuan, which needs old versions of transformers and
    further libraries.
    """
    (root,) = find_spec("LLMPruner").submodule_search_locations
    for name, path in {"LLMPruner": root, "LLMPruner.pruner": f"{root}/pruner"}.items():
        module = types.ModuleType(name)
        module.__path__ = [path]
        sys.modules[name] = module


import_without_other_families()
import LLMPruner.torch_pruning as tp
from LLMPruner.pruner import hf_llama_pruner as llama

EXAMPLE_IDS = torch.tensor([[1, 306, 4658, 278, 6593, 310, 2834, 338], [1, 3439, 17632, 1925, 29892, 278, 6368, 310]])


def prune(context, options, fraction):
    if options["scope"] == "global":
        return closest(lambda ratio: pruned(context, options, ratio), context, fraction)
    config = context.dense.config
    attention, ffn = context.layer_sizes()
    share = 1 - sum(options["spared"]) / config.num_hidden_layers

    def removed_at(ratio):
        width = config.intermediate_size
        neurons = width - int(width * (1 - ratio))
        groups = kv_groups(config, options, ratio) / config.num_key_value_heads
        return share * (attention * groups + ffn * neurons / width) / (attention + ffn)

    return pruned(context, options, ratio_for(removed_at, fraction))


def kv_groups(config, options, ratio):
    """KV groups that the tool removes from each layer at a ratio."""
    if not options["attention"]:
        return 0
    channels = config.num_key_value_heads * config.head_dim
    return (channels - int(channels * (1 - ratio))) // config.head_dim


def pruned(context, options, ratio):
    model = context.fresh()
    first, last = options["spared"]
    layers = model.model.layers[first : len(model.model.layers) - last]
    is_global = options["scope"] == "global"
    # The tool fails at ratios that amount to less than one KV group.
    prunes_attention = is_global or kv_groups(model.config, options, ratio) > 0
    roots = [layer.self_attn.k_proj for layer in layers] if prunes_attention else []
    pruner = tp.pruner.MetaPruner(
        model,
        EXAMPLE_IDS % model.config.vocab_size,
        importance=importance_of(options["importance"]),
        global_pruning=is_global,
        iterative_steps=1,
        ch_sparsity=ratio,
        ignored_layers=[],
        channel_groups={},
        consecutive_groups={layer.self_attn.k_proj: layer.self_attn.head_dim for layer in model.model.layers},
        customized_pruners={LlamaRMSNorm: llama.hf_rmsnorm_pruner},
        root_module_types=None,
        root_instances=roots + [layer.mlp.gate_proj for layer in layers],
    )
    pruner.step()
    return model, {"pruning_ratio": ratio}


def importance_of(name):
    if name in ("l1", "l2"):
        return llama.MagnitudeImportance(p=int(name[1]))
    return llama.TaylorImportance(group_reduction="sum", taylor=name)
