/** Opens the golden fixtures of test/golden: a tiny checkpoint, and PyTorch's numbers for it. */
import { join } from "node:path";
import { openSafetensors } from "../src/io/formats/safetensors.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** Directories of test/golden, one for each family or variant. */
export const GOLDEN_FAMILIES = [
  "llama",
  "llama3-rope-tied",
  "llama-bias",
  "cwm",
  "llama4",
  "llama4-experts",
  "lfm2",
  "lfm2_moe",
  "lfm3",
  "mistral-window",
  "mixtral",
  "minimax_m2",
  "minicpm3",
  "minicpm5_moe",
  "ministral",
  "ministral3",
  "mistral4",
  "qwen2",
  "qwen3",
  "qwen2_moe",
  "qwen3_moe",
  "mellum",
  "qwen3_5",
  "qwen3_5_moe",
  "qwen3_next",
  "gemma",
  "gemma2",
  "gemma3",
  "gemma3n",
  "gemma4",
  "gemma4-keys-as-values",
  "gemma4-experts",
  "gemma4-unified",
  "vaultgemma",
  "phi3",
  "phimoe",
  "granite",
  "granitemoe",
  "granitemoeshared",
  "granitemoehybrid",
  "granitemoehybrid-experts",
  "granite_swa",
  "granitemoe_swa",
  "hyperclovax",
  "smollm3",
  "olmo",
  "olmo2",
  "olmo3",
  "olmo_hybrid",
  "olmoe",
  "flex_olmo",
  "exaone4",
  "exaone_moe",
  "seed_oss",
  "ernie4_5",
  "ernie4_5_moe",
  "helium",
  "hunyuan",
  "hunyuan_v1_moe",
  "glm",
  "glm4",
  "glm4_moe",
  "glm4_moe_lite",
  "deepseek_v2",
  "deepseek_v3",
  "youtu",
  "dots1",
  "solar_open",
  "afmoe",
  "laguna",
  "laguna-channels",
  "apertus",
  "arcee",
  "nanochat",
  "nemotron",
  "nemotron_h",
  "nemotron_h-experts",
  "starcoder2",
  "stablelm",
  "stablelm-qk-norm",
  "phi",
  "gpt_neox",
  "gpt_neox-sequential",
  "gpt_oss",
  "cohere",
  "cohere-qk-norm",
  "cohere2",
  "cohere2_moe",
  "gpt2",
  "gpt_bigcode",
  "gpt_neo",
  "gptj",
  "opt",
  "bloom",
  "mpt",
  "falcon",
  "falcon-new",
  "falcon-alibi",
  "falcon_h1",
  "falcon_h1-norm",
  "jais2",
] as const;

/** Fixtures that are read as one family, and written as another that computes the same. */
export const READ_AS_OTHERS = ["codegen", "exaone"] as const;

/** A fixture: the model, its input, and the expected numbers. */
export interface GoldenModel {
  readonly model: Model;
  /** Tensors of golden.safetensors, as test/golden/README.md describes them. */
  readonly expected: ReadonlyMap<string, Tensor>;
  /** The rows of input_ids, [T] each. */
  readonly windows: readonly Int32Array[];
}

function goldenDirectory(family: string): string {
  return join(import.meta.dirname, "golden", family);
}

/** Opens a fixture. The caller closes `model.weights`. */
export async function openGolden(family: string): Promise<GoldenModel> {
  const directory = goldenDirectory(family);
  const expected = await readAll(join(directory, "golden.safetensors"));
  const { shape, data } = expected.get("input_ids")!;
  const ids = Int32Array.from(data);
  const tokens = shape[1]!;
  const windows = Array.from({ length: shape[0]! }, (_, b) => ids.subarray(b * tokens, (b + 1) * tokens));
  return { model: await openModel(directory), expected, windows };
}

/** Every tensor of a safetensors file. */
export async function readAll(path: string): Promise<ReadonlyMap<string, Tensor>> {
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Tensor>();
    for (const name of file.names) tensors.set(name, await file.read(name));
    return tensors;
  } finally {
    await file.close();
  }
}
