/** config.json of every family with changed values. */
import { join } from "node:path";
import fc from "fast-check";
import { CONFIG_JSON_LIMITS, readJsonFile } from "../../../src/io/files/json.ts";
import { FAMILY_NAMES } from "../../../src/model/families/families.ts";
import { readConfig } from "../../../src/model/hf/config.ts";
import { findHfForm, writeConfig } from "../../../src/model/hf/form.ts";
import { OTHER_CLASSES } from "../../../src/model/hf/other_classes.ts";
import { plainConfig } from "../../../src/model/hf/plain_config.ts";
import { readQuantization } from "../../../src/model/hf/quantization.ts";
import { ropesOf } from "../../../src/model/rope_layers.ts";
import type { LayerSpec, ModelSpec } from "../../../src/model/spec.ts";
import { weightsOf } from "../../../src/model/weights.ts";
import { tinySpec } from "../../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../../test/tiny_variants.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, hostileValue, jsonBytes, tamperedJson } from "../mutate.ts";

/** A plain config of 2 layers, like published ones. */
const PLAIN = {
  vocab_size: 16,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  max_position_embeddings: 64,
  rope_theta: 10000,
  tie_word_embeddings: true,
};

const NAMES = [...FAMILY_NAMES, ...OTHER_CLASSES.keys(), "minicpm", "gprune_llama", "gprune_glm4"];

/** Keys that plain configs do not have. */
const further = fc.record(
  {
    head_dim: fc.constantFrom<unknown>(4, 5, 2 ** 31),
    attention_bias: hostileValue,
    attention_out_bias: hostileValue,
    use_bias: fc.constantFrom<unknown>(true, null, 1),
    sliding_window: hostileValue,
    sliding_window_pattern: fc.constantFrom<unknown>(0, 1, 2, -1, 2 ** 31, "LG", "", null, [4]),
    partial_rotary_factor: fc.constantFrom<unknown>(0.5, 0.25, 1e-308, 1, 2, -1, "0.5", null),
    residual_multiplier: hostileValue,
    attn_logit_softcapping: fc.constantFrom<unknown>(50, 0, null, "50"),
    no_rope_layers: fc.constantFrom<unknown>([1, 0], [1], [], [{}], "10"),
    no_rope_layer_interval: hostileValue,
    logits_scaling: fc.constantFrom<unknown>(8, 0, 1e308, "8"),
    layer_types: fc.constantFrom<unknown>([], ["full_attention", "sliding_attention"], ["x"]),
    rope_scaling: fc.constantFrom<unknown>(
      null,
      { type: "linear", factor: 2 },
      { rope_type: "yarn" },
      { type: "yarn", factor: 1e308, mscale: 1e308, mscale_all_dim: 1e-308, beta_fast: 1e308 },
      { type: "longrope", short_factor: [1, 1e308], long_factor: [1e-308, 1] },
      { type: "dynamic", factor: 1e9 },
      { type: "dynamic", factor: 1, alpha: 1000 },
      { type: "dynamic", factor: 1, alpha: 1e308 },
      { type: "dynamic", factor: 1, alpha: 1e-308 },
      { type: 1 },
    ),
    original_max_position_embeddings: fc.constantFrom<unknown>(1, 32, 2 ** 31, -1),
    rope_parameters: fc.oneof(
      hostileValue,
      fc.constantFrom<unknown>(
        { rope_type: "default", partial_rotary_factor: 0.5 },
        { full_attention: { rope_type: "yarn", factor: 2 }, sliding_attention: { rope_theta: 1e308 } },
        { full_attention: { rope_type: 1 }, sliding_attention: [] },
      ),
    ),
    per_layer_config: fc.constantFrom<unknown>({ 1: { intermediate_size: 3 } }, { "-1": {} }, { 99999: {} }),
    projection_biases: fc.constantFrom<unknown>([["o_proj"], []], [["x"]], [[], [], []]),
    quantization_config: fc.oneof(
      hostileValue,
      fc.constantFrom<unknown>(
        { quant_method: "fp8", weight_block_size: [128, 1] },
        {
          quant_method: "compressed-tensors",
          format: "float-quantized",
          config_groups: { a: { weights: { num_bits: 8, type: "float", strategy: "channel" } } },
        },
      ),
    ),
    auto_map: fc.constant<unknown>({ AutoModel: "evil.Evil" }),
    eos_token_id: hostileValue,
    _attn_implementation_internal: fc.constant<unknown>("evil/kernel"),
  },
  { requiredKeys: [] },
);

const written = Object.values(TINY_VARIANTS)
  .map(tinySpec)
  .filter((spec) => findHfForm(spec) !== null)
  .map((spec): unknown => writeConfig(spec, "float32"));
const configs = fc.oneof(
  fc
    .tuple(fc.constantFrom(...NAMES), fc.oneof({ arbitrary: fc.constant({}), weight: 2 }, further))
    .map(([model_type, more]): unknown => ({ model_type, ...PLAIN, ...more })),
  fc.constantFrom(...written),
);
const wholes = fc.oneof(
  { arbitrary: configs, weight: 4 },
  configs.map((text_config): unknown => ({ model_type: "llava", vision_config: {}, text_config })),
);

export const modelConfigTarget: FuzzTarget = {
  name: "config",
  share: 4,
  files: damaged(tamperedJson(wholes).map(jsonBytes)).map((bytes) => ({ "config.json": bytes })),
  open: async (directory) => {
    const path = join(directory, "config.json");
    const config = await readJsonFile(path, CONFIG_JSON_LIMITS);
    requireSound(readConfig(plainConfig(config), path));
    const scales = readQuantization(config, path);
    if (scales?.block?.some((size) => !(size >= 1))) throw new Error(`blocks of ${scales.block}`);
    return undefined;
  },
};

/** Checks a spec. @throws Error for one that no model can have, or that kept keys which must be dropped */
function requireSound(spec: ModelSpec): void {
  const sizes = [spec.vocabSize, spec.hiddenSize, spec.headDim, spec.maxPositions];
  const widths = spec.layers.flatMap((layer) => [
    ...(isBlockWithoutFfn(spec, layer) ? [] : [layer.neurons]),
    ...(layer.mixer === undefined ? [layer.kvGroups] : []),
    layer.groupSize,
  ]);
  const odd = [...sizes, ...widths].find((size) => !Number.isSafeInteger(size) || size < 1);
  if (odd !== undefined) throw new Error(`a size of ${odd}`);
  const factors = [spec.attentionScale, spec.embeddingScale, spec.residualScale, spec.logitDivisor];
  const scales = [spec.normEps, ...factors, spec.scoreSoftcap ?? 1, spec.logitSoftcap ?? 1];
  if (!scales.every((scale) => Number.isFinite(scale))) throw new Error(`scales ${scales}`);
  const bases = ropesOf(spec).map(({ theta }) => theta);
  if (!bases.every((theta) => theta > 0 && Number.isFinite(theta))) throw new Error(`bases ${bases}`);
  if (/evil|auto_map/.test(JSON.stringify(spec))) throw new Error("code in a spec");
  if (spec.layers.length <= 16 && weightsOf(spec).length === 0) throw new Error("no weights");
}

/** Whether a layer has no FFN where its family may have such layers: those that are one block alone. */
function isBlockWithoutFfn({ family }: ModelSpec, { neurons, mixer }: LayerSpec): boolean {
  return family === "nemotron_h" && neurons === 0 && mixer?.type !== "none";
}
