"""
Decoder models pruned by gprune, for transformers 4.57 and later (CWM, Ministral 3, nanochat, Jais 2, HyperCLOVA X, LFM2
MoE, GLM-4.7 Flash, MiniMax-M2, Solar Open and AFMoE: 5 and later; K-EXAONE and Phi-3.5-MoE: 5.1 and later; Qwen 3.5:
5.2 and later; Nemotron-H and OLMo Hybrid: 5.3 and later; Mistral 4: 5.4 and later; Gemma 4: 5.5 and later; North Mini
Code and Command A+: 5.9 and later; Mellum 2: 5.10 and later; MiniCPM 3: 5.13 and later; Granite with windows: 5.15 and
later; LFM3: 5.23 and later; MiniCPM 5: 5.25 and later; Laguna: 5.7 and later, with gates for each channel 5.15 and
later):

    AutoModelForCausalLM.from_pretrained(PATH, trust_remote_code=True)

and for vLLM, which builds them from here through its Transformers backend:

    vllm serve PATH --trust-remote-code

config.json gives the widths of each layer under `per_layer_config`, or `layer_widths` where the stock class has another
use for that key (Gemma 4), the projections that carry a bias under `projection_biases`, one list a layer, and so the
slopes of ALiBi under `alibi_slopes`. A model is the stock model of its family with every layer built anew from those;
attention, rotary embedding, cache and generation are transformers' own.
"""

import inspect
from copy import copy

import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

try:
    from transformers import conversion_mapping
except ImportError:  # transformers 4 renames no tensors
    conversion_mapping = None

WIDTHS = ("intermediate_size", "num_attention_heads", "num_key_value_heads")

# What classes call the layers of a decoder, the attention of a layer, its heads, its FFN, and the neurons of that.
LAYERS = ("layers", "h", "blocks")
ATTENTION = ("self_attn", "attention", "attn", "self_attention")
HEADS = ("num_attention_heads", "num_heads", "n_head", "n_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads")
FFN = ("mlp", "feed_forward", "shared_mlp", "ffn")
NEURONS = (
    "intermediate_size",
    "intermediate_size_mlp",
    "prefix_dense_intermediate_size",
    "moe_intermediate_size",
    "n_inner",
    "ffn_dim",
    "ffn_hidden_size",
)
# What names of the shared expert of an FFN with others begin with.
SHARED = ("shared_expert", "shared_mlp")

# What `projection_biases` calls the projections of families that have other names for them, in attention and FFN. Of
# those that are one matrix in some classes, all have a bias or none; gates of attention's outputs (AFMoE, LFM3,
# Laguna) have none.
ATTENTION_PROJECTIONS = {
    "gate_proj": "attention_gates",
    "g_proj": "attention_gates",
    "q_gate_proj": "q_proj",
    "query_key_value": "q_proj",
    "c_attn": "q_proj",
    "Wqkv": "q_proj",
    "dense": "o_proj",
    "c_proj": "o_proj",
    "out_proj": "o_proj",
}
FFN_PROJECTIONS = {
    "c_fc": "up_proj",
    "c_proj": "down_proj",
    "fc_in": "up_proj",
    "fc_out": "down_proj",
    "fc1": "up_proj",
    "fc2": "down_proj",
    "w1": "gate_proj",
    "w2": "down_proj",
    "w3": "up_proj",
    "input_linear": "gate_up_proj",
    "output_linear": "down_proj",
    "dense_h_to_4h": "up_proj",
    "dense_4h_to_h": "down_proj",
}


# What makes the latent vectors of latent attention, which has biases as the configuration says.
LATENTS = ("q_a_proj", "kv_a_proj_with_mqa")


def layer_widths(config, index):
    """Widths of a layer by name: from transformers' view of them where it has one (5.x), else from the plain mapping."""
    layers = getattr(config, "layer_widths", None) or getattr(config, "per_layer_config", None)
    if layers is None:
        return {name: getattr(config, name) for name in WIDTHS}
    if isinstance(layers, dict):
        return layers[str(index)]
    return {name: getattr(layers[index], name) for name in WIDTHS}


class LayerConfig:
    """What a layer sees of the configuration: its own widths, and everything else as the model has it at the time."""

    _config = None

    def __init__(self, config, widths):
        self.__dict__.update(widths, _config=config)

    def __getattr__(self, name):
        return getattr(self._config, name)


class LayerViews:
    """transformers' view of each layer, or each type of layers, where `layer_widths` gives the widths of layers."""

    def __init__(self, config, views):
        self._config, self._views = config, views

    def __len__(self):
        return len(self._views)

    def __getitem__(self, index):
        if not isinstance(index, int) or not hasattr(self._config, "layer_widths"):
            return self._views[index]
        view = copy(self._views[index])
        for name, value in self._config.layer_widths[str(index)].items():
            setattr(view, name, value)
        return view


def attribute_of(module, names):
    """The first of these attributes that a module has, by name."""
    return next(name for name in names if hasattr(module, name))


def at_layer(kind, config, index):
    """
    A layer's attention; classes have two names for the layer's index, and Laguna's asks for the number of heads.
    Decorators of transformers 5.2 hide the usual name.
    """
    parameters = inspect.signature(kind).parameters
    heads = {"num_heads": config.num_attention_heads} if "num_heads" in parameters else {}
    return kind(config, **{"layer_id" if "layer_id" in parameters else "layer_idx": index}, **heads)


def pruned_projection(stock, usual, config, index):
    """
    A matrix of the same class, of the hidden size where it reads or writes the residual stream. Some classes ignore the
    number of neurons: theirs is four times the hidden size.
    """
    wide = stock.weight.shape if isinstance(stock, Conv1D) else stock.weight.shape[::-1]
    neurons = layer_widths(config, index)["intermediate_size"]
    inputs = {"o_proj": wide[0], "q_b_proj": wide[0], "kv_b_proj": wide[0], "down_proj": neurons}
    inputs = inputs.get(usual, config.hidden_size)
    outputs = {"o_proj": config.hidden_size, "up_proj": neurons}.get(usual, wide[1])
    if isinstance(stock, Conv1D):
        return Conv1D(outputs, inputs)
    biased = config.attention_bias if usual in LATENTS else usual in config.projection_biases[index]
    return nn.Linear(inputs, outputs, bias=biased)


def sloped(attention, slopes):
    """
    Gives the heads of attention their own slopes of ALiBi, in place of those that the class derives from the number of
    heads. They count from the last key, which is the same to softmax as from the query.
    """

    def own_slopes(module, args, seen):
        bias = next(seen[name] for name in ("position_bias", "alibi") if name in seen)
        keys, dtype = torch.arange(1 - bias.shape[-1], 1, device=bias.device), bias.dtype
        own = torch.tensor(slopes, device=bias.device)[:, None, None] * keys
        if "position_bias" in seen:  # MPT
            return args, {**seen, "position_bias": own.to(dtype)}
        batch = args[0].shape[0]
        if not hasattr(module, "multi_query"):  # BLOOM
            return args, {**seen, "alibi": own.repeat(batch, 1, 1).to(dtype)}
        # Falcon, whose mask contains ALiBi; without SDPA, the class adds it once more.
        mask, hidden = seen["attention_mask"][:, :1], torch.finfo(dtype).min
        mask = torch.where(mask <= hidden / 2, hidden, own.to(dtype))
        return args, {**seen, "attention_mask": mask, "alibi": torch.zeros_like(own.repeat(batch, 1, 1, 1))}

    attention.register_forward_pre_hook(own_slopes, with_kwargs=True)


def block_name(layer, names, matrix):
    """
    The name of a layer's attention or FFN, one of `names`; None where it has none. In Nemotron-H, a layer is one block
    with the same name whatever it is: it is told by a matrix.
    """
    if hasattr(layer, "mixer"):
        return "mixer" if hasattr(layer.mixer, matrix) else None
    return next((name for name in names if getattr(layer, name, None) is not None), None)


def pruned_attention(layer, config, index):
    """The modules of a layer's attention, built anew with the layer's heads; none where a layer has none."""
    name = block_name(layer, ATTENTION, "o_proj")
    if name is None:
        return []
    widths = layer_widths(config, index)
    heads = widths["num_attention_heads"]
    # Some classes ignore the head size: theirs is the hidden size by the number of heads.
    seen = {
        **widths,
        **dict.fromkeys(HEADS, heads),
        **dict.fromkeys(KV_HEADS, widths["num_key_value_heads"]),
        "hidden_size": heads * config.head_dim,
    }
    attention = at_layer(type(getattr(layer, name)), LayerConfig(config, seen), index)
    if getattr(config, "alibi_slopes", None) is not None:
        sloped(attention, config.alibi_slopes[index])
    setattr(layer, name, attention)
    return attention.modules()


def has_experts(layer):
    return any(name.endswith(("experts", "block_sparse_moe")) for name, _ in layer.named_modules())


def ffn_beside_experts(layer):
    """The name of a layer's FFN that is a shared one, beside experts; None where it has no such FFN."""
    name = next((name for name in FFN if getattr(layer, name, None) is not None), None)
    return name if name and has_experts(layer) and not has_experts(getattr(layer, name)) else None


def ffn_modules(layer):
    """The modules of a layer's FFN, without those of a shared expert: it is never pruned."""
    name = block_name(layer, FFN, "down_proj")
    if name is None:  # in some classes it is the layer itself
        return [layer]
    if ffn_beside_experts(layer):
        return []
    return [module for path, module in getattr(layer, name).named_modules() if not path.startswith(SHARED)]


def widen_shared(layer, config):
    """Gives the shared expert its own width, where the class derives it from that of the others."""
    ffn = next((getattr(layer, name) for name in FFN if hasattr(layer, name)), None)
    for name in ("shared_experts", "shared_expert", "shared_mlp"):
        if (shared := getattr(ffn, name, None)) is not None:
            width = {"intermediate_size": getattr(config, "shared_expert_intermediate_size", 0)}
            given = width.keys() & inspect.signature(type(shared)).parameters  # some classes want it by itself
            setattr(ffn, name, type(shared)(LayerConfig(config, width), **(width if given else {})))


def pruned_layer(stock, config, index):
    """A layer of the same class as `stock` with the widths and biases that the configuration gives it."""
    neurons = dict.fromkeys(NEURONS, layer_widths(config, index)["intermediate_size"])
    if not has_experts(stock):  # in Granite 4, the FFN is then what else is the shared expert
        neurons["shared_intermediate_size"] = neurons["intermediate_size"]
    if ffn_beside_experts(stock) == "mlp":  # in Gemma 4, that FFN has the usual key
        del neurons["intermediate_size"]
    elif isinstance(getattr(config, "intermediate_size", None), list):  # in Gemma 3n, whose class makes one of every number
        neurons["intermediate_size"] = [neurons["intermediate_size"]] * len(config.intermediate_size)
    layer = type(stock)(LayerConfig(config, neurons), index)
    widen_shared(layer, config)
    if hasattr(stock, "mamba"):  # the model adds factors to it
        layer.mamba = stock.mamba
    # The attention of some classes is within another module.
    for blocks, names in (
        (pruned_attention(layer, config, index), ATTENTION_PROJECTIONS),
        (ffn_modules(layer), FFN_PROJECTIONS),
    ):
        for block in list(blocks):
            for name, linear in list(block.named_children()):
                if isinstance(linear, (nn.Linear, Conv1D)) and name != "router":  # of Llama 4, it gives two tensors
                    setattr(block, name, pruned_projection(linear, names.get(name, name), config, index))
    return layer


class PrunedConfig:
    def validate(self):
        """Asks nothing: stock classes want heads that divide the hidden size, but here the head size is given."""

    def _rope_scaling_validation(self):
        """Asks nothing: Phi3Config of transformers 4 wants rotary factors for heads of hidden size by number of heads."""


class PrunedModel:
    @classmethod
    def _can_set_experts_implementation(cls):
        """Never: grouped products of transformers 5 want widths of experts that are multiples of 16 bytes."""
        return False

    def __init__(self, config):
        super().__init__(config)
        decoder = next(module for module in self.modules() if any(hasattr(module, name) for name in LAYERS))
        layers = getattr(decoder, attribute_of(decoder, LAYERS))
        for index, stock in enumerate(layers):
            layers[index] = pruned_layer(stock, config, index)
        routed = [index for index, layer in enumerate(layers) if has_experts(layer)]
        widths = {layer_widths(config, index)["intermediate_size"] for index in routed}
        if config._attn_implementation == "vllm" and len(widths) > 1:
            raise ValueError("vLLM has one width for the experts of all layers: prune with --shape uniform for it")
        self.post_init()


def add(stock, pruned, **members):
    """Adds the pruned version of a class of transformers under its own name after "Gprune"."""
    name = f"Gprune{stock.__name__}"
    added = type(name, (pruned, stock), {"__module__": __name__, **members})
    globals()[name] = added
    return added


def define(model_type, stem, causal=None):
    """
    Adds the classes of a family, where this version of transformers has them: configuration and decoder, whose names
    begin with `stem`, and the causal language model, which has the name `causal` if it does not begin so.
    """
    names = (f"{stem}Config", f"{stem}Model", causal or f"{stem}ForCausalLM")
    if not all(hasattr(transformers, name) for name in names):
        return
    if model_type == "phimoe" and transformers.__version__.startswith("5.0."):  # its class has RMS norms
        return
    config, model, causal = (getattr(transformers, name) for name in names)
    pruned_config = add(config, PrunedConfig, model_type=f"gprune_{model_type}")
    add(model, PrunedModel, config_class=pruned_config)
    pruned = add(causal, PrunedModel, config_class=pruned_config).__name__
    if conversion_mapping is None:
        return
    for theirs, ours in ((causal.__name__, pruned), (model_type, pruned_config.model_type)):
        renamed = conversion_mapping.get_checkpoint_conversion_mapping(theirs)
        if renamed:
            conversion_mapping.register_checkpoint_conversion_mapping(ours, renamed, overwrite=True)


for family in (
    ("llama", "Llama"),
    ("cwm", "Cwm"),
    ("llama4_text", "Llama4Text", "Llama4ForCausalLM"),
    ("lfm2", "Lfm2"),
    ("lfm2_moe", "Lfm2Moe"),
    ("laguna", "Laguna"),
    ("lfm3", "Lfm3"),
    ("mistral", "Mistral"),
    ("mixtral", "Mixtral"),
    ("minimax_m2", "MiniMaxM2"),
    ("minicpm3", "MiniCPM3"),
    ("minicpm5_moe", "MiniCPM5Moe"),
    ("ministral", "Ministral"),
    ("ministral3", "Ministral3"),
    ("mistral4", "Mistral4"),
    ("qwen2", "Qwen2"),
    ("qwen2_moe", "Qwen2Moe"),
    ("qwen3", "Qwen3"),
    ("qwen3_moe", "Qwen3Moe"),
    ("mellum", "Mellum"),
    ("qwen3_next", "Qwen3Next"),
    ("qwen3_5_text", "Qwen3_5Text", "Qwen3_5ForCausalLM"),
    ("qwen3_5_moe_text", "Qwen3_5MoeText", "Qwen3_5MoeForCausalLM"),
    ("gemma", "Gemma"),
    ("gemma2", "Gemma2"),
    ("gemma3_text", "Gemma3Text", "Gemma3ForCausalLM"),
    ("gemma3n_text", "Gemma3nText", "Gemma3nForCausalLM"),
    ("gemma4_text", "Gemma4Text", "Gemma4ForCausalLM"),
    ("vaultgemma", "VaultGemma"),
    ("phi3", "Phi3"),
    ("phimoe", "Phimoe"),
    ("granite", "Granite"),
    ("granitemoe", "GraniteMoe"),
    ("granitemoeshared", "GraniteMoeShared"),
    ("granitemoehybrid", "GraniteMoeHybrid"),
    ("granite_swa", "GraniteSWA"),
    ("granitemoe_swa", "GraniteMoeSWA"),
    ("hyperclovax", "HyperCLOVAX"),
    ("smollm3", "SmolLM3"),
    ("olmo", "Olmo"),
    ("olmo2", "Olmo2"),
    ("olmo3", "Olmo3"),
    ("olmo_hybrid", "OlmoHybrid"),
    ("olmoe", "Olmoe"),
    ("flex_olmo", "FlexOlmo"),
    ("exaone4", "Exaone4"),
    ("exaone_moe", "ExaoneMoe"),
    ("seed_oss", "SeedOss"),
    ("ernie4_5", "Ernie4_5"),
    ("ernie4_5_moe", "Ernie4_5_Moe"),
    ("helium", "Helium"),
    ("hunyuan_v1_dense", "HunYuanDenseV1"),
    ("hunyuan_v1_moe", "HunYuanMoEV1"),
    ("glm", "Glm"),
    ("glm4", "Glm4"),
    ("glm4_moe", "Glm4Moe"),
    ("glm4_moe_lite", "Glm4MoeLite"),
    ("deepseek_v2", "DeepseekV2"),
    ("deepseek_v3", "DeepseekV3"),
    ("dots1", "Dots1"),
    ("solar_open", "SolarOpen"),
    ("afmoe", "Afmoe"),
    ("apertus", "Apertus"),
    ("arcee", "Arcee"),
    ("nanochat", "NanoChat"),
    ("nemotron", "Nemotron"),
    ("nemotron_h", "NemotronH"),
    ("starcoder2", "Starcoder2"),
    ("stablelm", "StableLm"),
    ("phi", "Phi"),
    ("gpt_neox", "GPTNeoX"),
    ("gpt_oss", "GptOss"),
    ("cohere", "Cohere"),
    ("cohere2", "Cohere2"),
    ("cohere2_moe", "Cohere2Moe"),
    ("gpt2", "GPT2", "GPT2LMHeadModel"),
    ("gpt_bigcode", "GPTBigCode"),
    ("gpt_neo", "GPTNeo"),
    ("gptj", "GPTJ"),
    ("opt", "OPT"),
    ("bloom", "Bloom"),
    ("mpt", "Mpt"),
    ("falcon", "Falcon"),
    ("falcon_h1", "FalconH1"),
    ("jais2", "Jais2"),
):
    define(*family)


def __getattr__(name):
    if name.startswith("Gprune"):
        raise ImportError(f"transformers {transformers.__version__} lacks the class of {name}; it needs a later version")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# What vLLM multiplies the logits by.
for name in ("GpruneGraniteConfig", "GpruneGraniteMoeConfig", "GpruneGraniteMoeSharedConfig", "GpruneMiniCPM3Config"):
    if name in globals():
        globals()[name].logit_scale = property(lambda config: 1 / config.logits_scaling)
if "GpruneHyperCLOVAXConfig" in globals():
    globals()["GpruneHyperCLOVAXConfig"].logit_scale = property(lambda config: config.logits_scaling)


def initialised(usual):
    """
    As transformers 5 initialises, which leaves out modules without tensors of their own in classes that are not its own:
    Falcon-H1's give their layers factors that are in no file.
    """

    def initialize_weights(model):
        usual(model)
        for module in model.modules():
            if isinstance(module, transformers.FalconH1Model):
                module._init_weights(module)

    return initialize_weights


for name in ("GpruneFalconH1Model", "GpruneFalconH1ForCausalLM"):
    if name in globals() and conversion_mapping is not None:
        globals()[name].initialize_weights = initialised(globals()[name].initialize_weights)

# Views of layers, which caches and vLLM take the heads from; earlier versions have none.
gemma4 = globals().get("GpruneGemma4TextConfig")
if hasattr(gemma4, "per_layer_config"):
    stock_views = gemma4.per_layer_config
    gemma4.per_layer_config = property(
        lambda config: LayerViews(config, stock_views.fget(config)), stock_views.fset
    )
