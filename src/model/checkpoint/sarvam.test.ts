/** Checkpoints with the names of Sarvam 30B and Param 2, made from a GLM-4.5's. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { readAll } from "../../../test/golden_model.ts";
import { tensorsOf } from "../../../test/plans.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { writeSafetensors } from "../../io/formats/safetensors_writer.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { openModel } from "./checkpoint.ts";

const GLM = join(import.meta.dirname, "../../../test/golden/glm4_moe");

/** What conversion_mapping.py of transformers 5 calls the other way round. */
function sarvamName(name: string): string {
  return name
    .replace("embed_tokens", "word_embeddings")
    .replace(".self_attn.", ".attention.")
    .replace(".o_proj.", ".dense.")
    .replace(/\.([qk])_norm\./, (_, part) => (part === "q" ? ".query_layernorm." : ".key_layernorm."))
    .replace("e_score_correction_bias", "expert_bias");
}

/** Tensors of rows one after another. */
function joined(parts: readonly Tensor[]): Tensor {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let filled = 0;
  for (const part of parts) {
    data.set(part.data, filled);
    filled += part.data.length;
  }
  const rows = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
  return { shape: [rows, ...parts[0]!.shape.slice(1)], data };
}

/** The tensors of the golden GLM-4.5 as a Sarvam has them: queries, keys and values in one. */
async function sarvamTensors(): Promise<ReadonlyMap<string, Tensor>> {
  const saved = await readAll(join(GLM, "model.safetensors"));
  const tensors = new Map<string, Tensor>();
  for (const [name, tensor] of saved) {
    const [, before, part, kind] = /^(.*self_attn\.)([qkv])_proj\.(\w+)$/.exec(name) ?? [];
    if (part === undefined) tensors.set(sarvamName(name), tensor);
    if (part !== "q") continue;
    const parts = ["q", "k", "v"].map((each) => saved.get(`${before}${each}_proj.${kind}`)!);
    tensors.set(sarvamName(`${before}query_key_value.${kind}`), joined(parts));
  }
  return tensors;
}

test.each(["sarvam_moe", "param2moe"])("a checkpoint of %s has the weights of a GLM-4.5", async (type) => {
  const config = JSON.parse(await readFile(join(GLM, "config.json"), "utf8")) as JsonObject;
  const { n_routed_experts: experts, n_shared_experts: shared, attention_bias: biases, ...others } = config;
  const published = { num_experts: experts, num_shared_experts: shared, use_qkv_bias: biases };
  const directory = join(await temporaryDirectory(), "model");
  await mkdir(directory);
  await writeFile(
    join(directory, "config.json"),
    JSON.stringify({ ...others, ...published, model_type: type }),
  );
  const entries = Array.from(await sarvamTensors(), ([name, tensor]) => ({
    ...{ name, shape: tensor.shape, dtype: "F32" as const },
    read: async () => tensor,
  }));
  await writeSafetensors(directory, entries);
  const [glm, opened] = [await openModel(GLM), await openModel(directory)];
  try {
    expect(opened.spec).toEqual(glm.spec);
    expect(await tensorsOf(opened)).toEqual(await tensorsOf(glm));
  } finally {
    await glm.weights.close();
    await opened.weights.close();
  }
});
