/** Metadata that several models of GGUF files have. */
import { type BuiltValue, f32, floatTensor, i32s, u32 } from "./gguf_builder.ts";
import type { Case } from "./gguf_layouts.ts";
import { TINY_FAMILIES } from "./tiny_families.ts";
import { tinyModel } from "./tiny_model.ts";

/** The sizes of a delta rule with filters of three tokens, and key heads of eight channels. */
export function deltaEntries(
  { keyHeads, valueHeads, inner }: Readonly<Record<"keyHeads" | "valueHeads" | "inner", number>>,
  architecture = "qwen35",
): NonNullable<Case["extra"]> {
  const entries: Readonly<Record<string, BuiltValue>> = {
    "ssm.conv_kernel": u32(3),
    "ssm.group_count": u32(keyHeads),
    "ssm.inner_size": u32(inner),
    "ssm.state_size": u32(8),
    "ssm.time_step_rank": u32(valueHeads),
    "rope.dimension_count": u32(2),
    "rope.dimension_sections": i32s([1, 0, 0, 0]),
  };
  return Object.entries(entries).map(([key, value]) => [`${architecture}.${key}`, value]);
}

/** Of several streams of hidden states. @param others - metadata besides what llama.cpp reads */
export function gemma3nCase(others: Readonly<Record<string, BuiltValue>>): Case {
  const entries: Readonly<Record<string, BuiltValue>> = {
    "attention.sliding_window": u32(16),
    "rope.freq_base_swa": f32(10_000),
    ...others,
  };
  return {
    ...{ architecture: "gemma3n", norms: "around", model: tinyModel(TINY_FAMILIES.gemma3n) },
    extra: Object.entries(entries).map(([key, value]) => [`gemma3n.${key}`, value]),
  };
}

/** Of layers with and without windows, the latter with heads of six channels, of which two turn. */
export function gemma4Case(
  name: "gemma4" | "gemma4 with keys as values" | "gemma4 with experts",
  others: Readonly<Record<string, BuiltValue>>,
): Case {
  const model = tinyModel(TINY_FAMILIES[name]);
  const pattern = model.spec.layers.map(({ window }) => window !== null);
  const entries: Readonly<Record<string, BuiltValue>> = {
    "attention.sliding_window": u32(16),
    "attention.sliding_window_pattern": { type: "array", of: "bool", value: pattern },
    "attention.key_length_swa": u32(4),
    "attention.value_length_swa": u32(4),
    "rope.dimension_count": u32(6),
    "rope.dimension_count_swa": u32(4),
    final_logit_softcapping: f32(3),
    ...others,
  };
  return {
    ...{ architecture: "gemma4", norms: "around", model },
    extra: Object.entries(entries).map(([key, value]) => [`gemma4.${key}`, value]),
    tensors: [floatTensor("rope_freqs.weight", [3], Float32Array.of(1, 1e30, 1e30))],
  };
}
