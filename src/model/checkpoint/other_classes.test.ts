/**
 * Checkpoints as other classes save them, made from those of the families that they are read as: Sarvam 30B, Param 2
 * and Hy3 from a GLM-4.5's, Qwen3-VL with experts from a Qwen3 MoE's.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { readAll } from "../../../test/golden_model.ts";
import { tensorsOf } from "../../../test/plans.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { writeSafetensors } from "../../io/formats/safetensors_writer.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { transposed } from "../../tensor/transposed.ts";
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

/** A checkpoint of these tensors. @returns its directory */
async function written(config: JsonObject, tensors: ReadonlyMap<string, Tensor>): Promise<string> {
  const directory = join(await temporaryDirectory(), "model");
  await mkdir(directory);
  await writeFile(join(directory, "config.json"), JSON.stringify(config));
  const entries = Array.from(tensors, ([name, tensor]) => ({
    ...{ name, shape: tensor.shape, dtype: "F32" as const },
    read: async () => tensor,
  }));
  await writeSafetensors(directory, entries);
  return directory;
}

/** Expects two directories to hold the same model. */
async function expectSameModel(directory: string, original: string): Promise<void> {
  const [expected, opened] = [await openModel(original), await openModel(directory)];
  try {
    expect(opened.spec).toEqual(expected.spec);
    expect(await tensorsOf(opened)).toEqual(await tensorsOf(expected));
  } finally {
    await expected.weights.close();
    await opened.weights.close();
  }
}

async function configOf(directory: string): Promise<JsonObject> {
  return JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as JsonObject;
}

test.each(["sarvam_moe", "param2moe"])("a checkpoint of %s has the weights of a GLM-4.5", async (type) => {
  const {
    n_routed_experts: experts,
    n_shared_experts: shared,
    attention_bias: biases,
    ...others
  } = await configOf(GLM);
  const published = { num_experts: experts, num_shared_experts: shared, use_qkv_bias: biases };
  const directory = await written({ ...others, ...published, model_type: type }, await sarvamTensors());
  await expectSameModel(directory, GLM);
});

/** What conversion_mapping.py of transformers 5 calls the other way round, and what the class of Hy3 does. */
const HY3_NAMES: Readonly<Record<string, (name: string) => string>> = {
  "as published": (name) =>
    name
      .replace("mlp.gate.e_score_correction_bias", "mlp.expert_bias")
      .replace("mlp.gate.weight", "mlp.router.gate.weight")
      .replace("mlp.shared_experts.", "mlp.shared_mlp."),
  "as its class has it": (name) => name.replace("mlp.gate.e_score", "mlp.e_score"),
};

test.each(Object.keys(HY3_NAMES))("a checkpoint of Hy3 has the weights of a GLM-4.5, %s", async (names) => {
  const saved = await readAll(join(GLM, "model.safetensors"));
  const tensors = new Map([...saved].filter(([name]) => !/[qkv]_proj\.bias$/.test(name)));
  const config: JsonObject = { ...(await configOf(GLM)), attention_bias: false };
  const glm = await written(config, tensors);
  const {
    n_routed_experts: experts,
    n_shared_experts: shared,
    routed_scaling_factor: scale,
    ...others
  } = config;
  const keys = { num_experts: experts, num_shared_experts: shared, router_scaling_factor: scale };
  const renamed = new Map(Array.from(tensors, ([name, tensor]) => [HY3_NAMES[names]!(name), tensor]));
  await expectSameModel(await written({ ...others, ...keys, model_type: "hy_v3" }, renamed), glm);
});

const QWEN = join(import.meta.dirname, "../../../test/golden/qwen3_moe");

/** Experts of a layer in one tensor, each matrix [columns, rows], as Qwen3-VL was published. */
function stackedTransposed(matrices: readonly Tensor[]): Tensor {
  const [rows, columns] = matrices[0]!.shape as readonly [number, number];
  const data = matrices.flatMap((matrix) => [...transposed(matrix).data]);
  return { shape: [matrices.length, columns, rows], data: Float32Array.from(data) };
}

test("a checkpoint of Qwen3-VL with experts has the weights of a Qwen3 MoE", async () => {
  const saved = await readAll(join(QWEN, "model.safetensors"));
  const config = await configOf(QWEN);
  const tensors = new Map([...saved].filter(([name]) => !name.includes(".experts.")));
  for (const layer of [...saved.keys()].flatMap(
    (name) => /^(.*\.experts\.)0\.down_proj/.exec(name)?.[1] ?? [],
  )) {
    const experts = Array.from(
      { length: config.num_local_experts as number },
      (_, expert) => `${layer}${expert}`,
    );
    const part = (expert: string, name: string): Tensor => saved.get(`${expert}.${name}.weight`)!;
    const inputs = experts.map((expert) => joined([part(expert, "gate_proj"), part(expert, "up_proj")]));
    tensors.set(`${layer}gate_up_proj`, stackedTransposed(inputs));
    tensors.set(`${layer}down_proj`, stackedTransposed(experts.map((expert) => part(expert, "down_proj"))));
  }
  expect(tensors.size).toBeLessThan(saved.size);
  const inWhole = new Map(
    Array.from(tensors, ([name, tensor]) => [name.replace("model.", "model.language_model."), tensor]),
  );
  const text = { ...config, norm_topk_prob: null, model_type: "qwen3_vl_moe_text" };
  const directory = await written({ model_type: "qwen3_vl_moe", text_config: text }, inWhole);
  const original = await written({ ...config, norm_topk_prob: true }, saved);
  await expectSameModel(directory, original);
});
