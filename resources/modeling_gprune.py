"""
Decoder models pruned by gprune, for transformers 4.57 and later:

    AutoModelForCausalLM.from_pretrained(PATH, trust_remote_code=True)

config.json gives the widths of each layer under `per_layer_config` and the projections that carry a bias under
`projection_biases`, one list a layer. A model is the stock model of its family with every layer built anew from those;
attention, rotary embedding, cache and generation are transformers' own.
"""

from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

WIDTHS = ("intermediate_size", "num_attention_heads", "num_key_value_heads")


def layer_widths(config, index):
    """Widths of a layer by name: from transformers' view of them where it has one (5.x), else from the plain mapping."""
    layers = getattr(config, "per_layer_config", None)
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


def pruned_layer(stock, config, index):
    """A layer of the same class as `stock` with the widths and biases that the configuration gives it."""
    layer = type(stock)(LayerConfig(config, layer_widths(config, index)), index)
    for block in (layer.self_attn, layer.mlp):
        for name, linear in list(block.named_children()):
            wanted = name in config.projection_biases[index]
            if isinstance(linear, nn.Linear) and wanted != (linear.bias is not None):
                setattr(block, name, nn.Linear(linear.in_features, linear.out_features, bias=wanted))
    return layer


class PrunedConfig:
    def validate(self):
        """Asks nothing: stock classes want heads that divide the hidden size, but here the head size is given."""

    def _rope_scaling_validation(self):
        """Asks nothing: Phi3Config of transformers 4 wants rotary factors for heads of hidden size by number of heads."""


class PrunedModel:
    def __init__(self, config):
        super().__init__(config)
        for index, stock in enumerate(self.model.layers):
            self.model.layers[index] = pruned_layer(stock, config, index)
        self.post_init()


class GpruneLlamaConfig(PrunedConfig, LlamaConfig):
    model_type = "gprune_llama"


class GpruneLlamaForCausalLM(PrunedModel, LlamaForCausalLM):
    config_class = GpruneLlamaConfig


class GpruneMistralConfig(PrunedConfig, MistralConfig):
    model_type = "gprune_mistral"


class GpruneMistralForCausalLM(PrunedModel, MistralForCausalLM):
    config_class = GpruneMistralConfig


class GpruneQwen2Config(PrunedConfig, Qwen2Config):
    model_type = "gprune_qwen2"


class GpruneQwen2ForCausalLM(PrunedModel, Qwen2ForCausalLM):
    config_class = GpruneQwen2Config


class GpruneQwen3Config(PrunedConfig, Qwen3Config):
    model_type = "gprune_qwen3"


class GpruneQwen3ForCausalLM(PrunedModel, Qwen3ForCausalLM):
    config_class = GpruneQwen3Config


class GpruneGemmaConfig(PrunedConfig, GemmaConfig):
    model_type = "gprune_gemma"


class GpruneGemmaForCausalLM(PrunedModel, GemmaForCausalLM):
    config_class = GpruneGemmaConfig


class GpruneGemma2Config(PrunedConfig, Gemma2Config):
    model_type = "gprune_gemma2"


class GpruneGemma2ForCausalLM(PrunedModel, Gemma2ForCausalLM):
    config_class = GpruneGemma2Config


class GpruneGemma3TextConfig(PrunedConfig, Gemma3TextConfig):
    model_type = "gprune_gemma3_text"


class GpruneGemma3ForCausalLM(PrunedModel, Gemma3ForCausalLM):
    config_class = GpruneGemma3TextConfig


class GprunePhi3Config(PrunedConfig, Phi3Config):
    model_type = "gprune_phi3"


class GprunePhi3ForCausalLM(PrunedModel, Phi3ForCausalLM):
    config_class = GprunePhi3Config


class GpruneGraniteConfig(PrunedConfig, GraniteConfig):
    model_type = "gprune_granite"


class GpruneGraniteForCausalLM(PrunedModel, GraniteForCausalLM):
    config_class = GpruneGraniteConfig


class GpruneSmolLM3Config(PrunedConfig, SmolLM3Config):
    model_type = "gprune_smollm3"


class GpruneSmolLM3ForCausalLM(PrunedModel, SmolLM3ForCausalLM):
    config_class = GpruneSmolLM3Config
