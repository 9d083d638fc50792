"""
Decoder models pruned by gprune, for transformers 4.57 and later (Ministral 3 for 5 and later):

    AutoModelForCausalLM.from_pretrained(PATH, trust_remote_code=True)

and for vLLM, which builds them from here through its Transformers backend:

    vllm serve PATH --trust-remote-code

config.json gives the widths of each layer under `per_layer_config` and the projections that carry a bias under
`projection_biases`, one list a layer. A model is the stock model of its family with every layer built anew from those;
attention, rotary embedding, cache and generation are transformers' own.
"""

from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma2Model,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Gemma3TextModel,
    GemmaConfig,
    GemmaForCausalLM,
    GemmaModel,
    GraniteConfig,
    GraniteForCausalLM,
    GraniteModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    MistralForCausalLM,
    MistralModel,
    Phi3Config,
    Phi3ForCausalLM,
    Phi3Model,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    SmolLM3Model,
)

try:
    from transformers import Ministral3Config, Ministral3ForCausalLM, Ministral3Model
except ImportError:  # transformers 4
    Ministral3Config = Ministral3ForCausalLM = Ministral3Model = None

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


def prune(model, config):
    for index, stock in enumerate(model.layers):
        model.layers[index] = pruned_layer(stock, config, index)


class PrunedModel:
    def __init__(self, config):
        super().__init__(config)
        prune(self, config)
        self.post_init()


class PrunedForCausalLM:
    def __init__(self, config):
        super().__init__(config)
        prune(self.model, config)
        self.post_init()


class GpruneLlamaConfig(PrunedConfig, LlamaConfig):
    model_type = "gprune_llama"


class GpruneLlamaModel(PrunedModel, LlamaModel):
    config_class = GpruneLlamaConfig


class GpruneLlamaForCausalLM(PrunedForCausalLM, LlamaForCausalLM):
    config_class = GpruneLlamaConfig


class GpruneMistralConfig(PrunedConfig, MistralConfig):
    model_type = "gprune_mistral"


class GpruneMistralModel(PrunedModel, MistralModel):
    config_class = GpruneMistralConfig


class GpruneMistralForCausalLM(PrunedForCausalLM, MistralForCausalLM):
    config_class = GpruneMistralConfig


class GpruneQwen2Config(PrunedConfig, Qwen2Config):
    model_type = "gprune_qwen2"


class GpruneQwen2Model(PrunedModel, Qwen2Model):
    config_class = GpruneQwen2Config


class GpruneQwen2ForCausalLM(PrunedForCausalLM, Qwen2ForCausalLM):
    config_class = GpruneQwen2Config


class GpruneQwen3Config(PrunedConfig, Qwen3Config):
    model_type = "gprune_qwen3"


class GpruneQwen3Model(PrunedModel, Qwen3Model):
    config_class = GpruneQwen3Config


class GpruneQwen3ForCausalLM(PrunedForCausalLM, Qwen3ForCausalLM):
    config_class = GpruneQwen3Config


class GpruneGemmaConfig(PrunedConfig, GemmaConfig):
    model_type = "gprune_gemma"


class GpruneGemmaModel(PrunedModel, GemmaModel):
    config_class = GpruneGemmaConfig


class GpruneGemmaForCausalLM(PrunedForCausalLM, GemmaForCausalLM):
    config_class = GpruneGemmaConfig


class GpruneGemma2Config(PrunedConfig, Gemma2Config):
    model_type = "gprune_gemma2"


class GpruneGemma2Model(PrunedModel, Gemma2Model):
    config_class = GpruneGemma2Config


class GpruneGemma2ForCausalLM(PrunedForCausalLM, Gemma2ForCausalLM):
    config_class = GpruneGemma2Config


class GpruneGemma3TextConfig(PrunedConfig, Gemma3TextConfig):
    model_type = "gprune_gemma3_text"


class GpruneGemma3TextModel(PrunedModel, Gemma3TextModel):
    config_class = GpruneGemma3TextConfig


class GpruneGemma3ForCausalLM(PrunedForCausalLM, Gemma3ForCausalLM):
    config_class = GpruneGemma3TextConfig


class GprunePhi3Config(PrunedConfig, Phi3Config):
    model_type = "gprune_phi3"


class GprunePhi3Model(PrunedModel, Phi3Model):
    config_class = GprunePhi3Config


class GprunePhi3ForCausalLM(PrunedForCausalLM, Phi3ForCausalLM):
    config_class = GprunePhi3Config


class GpruneGraniteConfig(PrunedConfig, GraniteConfig):
    model_type = "gprune_granite"

    @property
    def logit_scale(self):
        """What vLLM multiplies logits by."""
        return 1 / self.logits_scaling


class GpruneGraniteModel(PrunedModel, GraniteModel):
    config_class = GpruneGraniteConfig


class GpruneGraniteForCausalLM(PrunedForCausalLM, GraniteForCausalLM):
    config_class = GpruneGraniteConfig


class GpruneSmolLM3Config(PrunedConfig, SmolLM3Config):
    model_type = "gprune_smollm3"


class GpruneSmolLM3Model(PrunedModel, SmolLM3Model):
    config_class = GpruneSmolLM3Config


class GpruneSmolLM3ForCausalLM(PrunedForCausalLM, SmolLM3ForCausalLM):
    config_class = GpruneSmolLM3Config


if Ministral3Config is not None:

    class GpruneMinistral3Config(PrunedConfig, Ministral3Config):
        model_type = "gprune_ministral3"

    class GpruneMinistral3Model(PrunedModel, Ministral3Model):
        config_class = GpruneMinistral3Config

    class GpruneMinistral3ForCausalLM(PrunedForCausalLM, Ministral3ForCausalLM):
        config_class = GpruneMinistral3Config
