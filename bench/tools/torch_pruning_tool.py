"""
Torch-Pruning (https://github.com/VainF/Torch-Pruning) from a checkout, as its examples/LLMs/prune_llm.py drives it:
query heads, as many of each KV group, and FFN neurons. Unlike there, the hidden size stays, except with `hidden`, and
FFN sizes are not rounded to multiples of 4.

Options: `importance` magnitude (the example's) or taylor; `heads`: query heads to remove from each KV group; `scope`
local, or global, which ranks the neurons of all layers together. Heads are ranked in each layer: where KV heads are
shared, the tool counts too few heads for a global ranking, and removes too many.
"""

import warnings

import torch
import torch_pruning as tp

from model import closest, ratio_for

# The graph is traced anew from the norms for every pruner, each with a warning.
warnings.filterwarnings("ignore", message="Unwrapped parameters")
EXAMPLE_IDS = torch.tensor([[1, 2, 3, 4]])
EXAMPLE_ROUNDING = 4


def prune(context, options, fraction):
    if options.get("hidden"):
        return closest(lambda ratio: (example(context.fresh(), ratio), {"pruning_ratio": ratio}), context, fraction)
    heads = options["heads"]
    if options["scope"] == "global":
        return closest(lambda ratio: pruned(context, options, (ratio, heads)), context, fraction)
    config = context.dense.config
    attention, ffn = context.layer_sizes()
    # Rows of q_proj and columns of o_proj.
    of_heads = heads * config.num_key_value_heads * 2 * config.head_dim * config.hidden_size

    def removed_at(ratio):
        width = config.intermediate_size
        return (of_heads + ffn / width * (width - int(width * (1 - ratio)))) / (attention + ffn)

    return pruned(context, options, (ratio_for(removed_at, fraction), heads))


def pruned(context, options, amounts):
    """Heads and neurons in one step where both are ranked in each layer, else heads first."""
    ratio, heads = amounts
    model, importance = context.fresh(), importance_of(options["importance"])
    config = model.config
    head_ratio = heads * config.num_key_value_heads / config.num_attention_heads
    if options["scope"] == "global":
        if heads > 0:
            step(model, importance, pruning_ratio=0, head_pruning_ratio=head_ratio)
        step(model, importance, pruning_ratio=ratio, global_pruning=True)
    else:
        step(model, importance, pruning_ratio=ratio, head_pruning_ratio=head_ratio)
    return model, {"pruning_ratio": ratio, "head_pruning_ratio": head_ratio}


def importance_of(name):
    if name == "magnitude":
        return tp.importance.GroupMagnitudeImportance(p=2, group_reduction="mean")
    return tp.importance.GroupTaylorImportance()


def step(model, importance, keep_hidden=True, **ratios):
    """As in the example; where the hidden size is kept, the projections that write it are ignored."""
    heads = {}
    for layer in model.model.layers:
        attention = layer.self_attn
        heads[attention.q_proj] = attention.q_proj.out_features // attention.head_dim
        for projection in (attention.k_proj, attention.v_proj):
            heads[projection] = projection.out_features // attention.head_dim
    writers = [p for layer in model.model.layers for p in (layer.self_attn.o_proj, layer.mlp.down_proj)]
    pruner = tp.pruner.BasePruner(
        model,
        example_inputs=EXAMPLE_IDS,
        importance=importance,
        output_transform=lambda output: output.logits,
        ignored_layers=[model.lm_head, *(writers if keep_hidden else [])],
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        # Its default is one dictionary that all pruners share.
        out_channel_groups={},
        **ratios,
    )
    for group in pruner.step(interactive=True):
        group.prune()
    for layer in model.model.layers:
        attention = layer.self_attn
        attention.num_key_value_groups = attention.q_proj.out_features // attention.k_proj.out_features


def example(model, ratio):
    importance = importance_of("magnitude")
    step(model, importance, keep_hidden=False, pruning_ratio=ratio, head_pruning_ratio=ratio, round_to=EXAMPLE_ROUNDING)
    return model
