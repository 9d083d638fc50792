/**
 * The configuration of the text model of a multimodal checkpoint (Gemma 3, Mistral Small 3, LLaVA, Qwen-VL, SmolVLM,
 * ...), which config.json has as `text_config`. On text alone these models compute what the text model does, which is
 * of a family that stands alone as well.
 */
import { isJsonObject } from "../../io/files/json.ts";
import { FAMILIES } from "../families.ts";
import type { Family } from "../family.ts";

/** Keys that the whole model's configuration has for the text model as well. */
const SHARED_KEYS = ["bos_token_id", "eos_token_id", "pad_token_id", "quantization_config"] as const;

/** A model that attends to prompts in both directions, unlike its text model alone (modeling_paligemma.py). */
const PREFIX_MODEL = "paligemma";

/**
 * The text model's configuration, with what it leaves out because the class or the whole model has it. It ties the
 * output matrix to the embedding, as versions of transformers disagree on whose `tie_word_embeddings` counts; the
 * tensors decide (stored_head.ts).
 * @param config - parsed config.json
 * @returns the same object for a model of text alone, and for a text model of an unknown family
 */
export function textConfig(config: unknown): unknown {
  if (!isJsonObject(config) || !isJsonObject(config.text_config)) return config;
  const { model_type: whole, text_config: text } = config;
  const family = FAMILIES.find(({ modelType, alsoNamed }) =>
    [modelType, ...alsoNamed].some((name) => name === text.model_type),
  );
  if (family === undefined || whole === PREFIX_MODEL) return config;
  const shared = SHARED_KEYS.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]]));
  return { ...sizesOf(family), ...Object.fromEntries(shared), ...text, tie_word_embeddings: true };
}

/** Sizes of the family's class, which `text_config` lacks where the model has the same (`to_diff_dict`). */
function sizesOf({ defaults: { sizes } }: Family): Readonly<Record<string, number>> {
  return {
    vocab_size: sizes.vocab,
    hidden_size: sizes.hidden,
    intermediate_size: sizes.neurons,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
  };
}
