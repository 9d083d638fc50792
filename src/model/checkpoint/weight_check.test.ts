import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { poisonTensor } from "../../../test/poison.ts";
import type { TensorInfo } from "../../tensor/tensor.ts";
import { weightsOf } from "../weights.ts";
import { openModel } from "./checkpoint.ts";
import { checkWeights } from "./weight_check.ts";

async function goldenCopy(family: string): Promise<string> {
  const directory = await temporaryDirectory();
  await cp(join(import.meta.dirname, "../../../test/golden", family), directory, { recursive: true });
  return directory;
}

/** What opening a golden model says after a change of its config.json. */
async function messageOf(
  family: string,
  change: (config: Record<string, number>) => Record<string, unknown>,
): Promise<string> {
  const directory = await goldenCopy(family);
  const path = join(directory, "config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as Record<string, number>;
  await writeFile(path, JSON.stringify({ ...config, ...change(config) }));
  return openModel(directory).then(
    () => "no error",
    (error: Error) => error.message.replaceAll(directory, "DIR"),
  );
}

test("names tensors as the file does, with their shapes there", async () => {
  const message = await messageOf("gpt2", ({ n_embd }) => ({ n_inner: 5, n_embd }));
  expect(message).toMatch(
    /\n {2}transformer\.h\.0\.mlp\.c_fc\.weight: expected \[(\d+), 5\], got \[\1, \d+\]\n/,
  );
  expect(message).toMatch(/\n {2}transformer\.h\.0\.mlp\.c_fc\.bias: expected \[5\], got \[\d+\]\n/);
  expect(await messageOf("opt", () => ({ max_position_embeddings: 9 }))).toMatch(
    /\n {2}model\.decoder\.embed_positions\.weight: expected \[11, \d+\], got/,
  );
});

test("names a tensor of several projections once", async () => {
  const message = await messageOf("gpt_neox", ({ hidden_size }) => ({ hidden_size: hidden_size! / 2 }));
  expect(message.match(/layers\.0\.attention\.query_key_value\.weight: expected/g)).toHaveLength(1);
  expect(message).not.toContain("q_proj");
});

test("names parts of a tensor as the file does, those that do not fit", async () => {
  const message = await messageOf("olmo_hybrid", ({ linear_value_head_dim }) => ({
    linear_value_head_dim: linear_value_head_dim! + 1,
  }));
  expect(message).toMatch(
    /\.0\.linear_attn\.v_proj\.weight: expected (\[\d+, \d+\]), got (?!\1)\[\d+, \d+\]/,
  );
  expect(message).not.toMatch(/in_proj|q_proj/);
});

test("names tensors of experts as the file does", async () => {
  const own = await messageOf("mixtral", ({ num_local_experts }) => ({
    num_local_experts: num_local_experts! + 1,
  }));
  expect(own).toMatch(/\n {2}model\.layers\.0\.block_sparse_moe\.gate\.weight: expected/);
  expect(own).toMatch(/experts\.\d\.w1\.weight: expected \[\d+, \d+\], got no such tensor/);
  expect(own).not.toContain("mlp.gate_proj");
  const wider = await messageOf("granitemoe", ({ intermediate_size }) => ({
    intermediate_size: intermediate_size! + 1,
  }));
  expect(wider).toMatch(/input_linear\.weight: expected (\[\d+, \d+, \d+\]), got (?!\1)\[\d+, \d+, \d+\]/);
});

test("lists no tensors of experts that a file is too small to have", async () => {
  const message = await messageOf("mixtral", () => ({ num_hidden_layers: 512, num_local_experts: 4096 }));
  expect(message).toMatch(
    /\n {2}model\.layers\.0\.block_sparse_moe\.gate\.weight: expected \[4096, \d+\], got/,
  );
  expect(message).toMatch(/\n {2}and \d+ more$/);
});

test("names the first tensors of experts that are missing in many layers", async () => {
  const directory = await goldenCopy("mixtral");
  const model = await openModel(directory);
  const layers = Array.from({ length: 1000 }, () => {
    const [layer] = model.spec.layers;
    return { ...layer!, neurons: 4096, experts: { ...layer!.experts!, count: 4096 } };
  });
  const present = new Map(weightsOf({ ...model.spec, layers }).map(({ name, shape }) => [name, shape]));
  const info = (name: string): TensorInfo | undefined =>
    present.has(name) && !/mlp\.(gate|up|down)_proj/.test(name)
      ? { dtype: "F32", shape: present.get(name)! }
      : undefined;
  const broken = { ...model, spec: { ...model.spec, layers }, weights: { ...model.weights, info } };
  expect(() => checkWeights(broken)).toThrow(
    /:\n {2}model\.layers\.0\.block_sparse_moe\.experts\.0\.w1\.weight: expected \[\d+, \d+\], got no such tensor\n/,
  );
  await model.weights.close();
});

test("names corrections of routers, and their shapes, as the file does", async () => {
  const message = await messageOf("ernie4_5_moe", ({ moe_num_experts }) => ({
    moe_num_experts: moe_num_experts! + 1,
  }));
  expect(message).toMatch(
    /\n {2}model\.layers\.1\.mlp\.moe_statics\.e_score_correction_bias: expected \[1, 7\], got \[1, 6\]/,
  );
});

test.each([
  ["lfm2_moe", "model.layers.1.feed_forward.expert_bias"],
  ["minimax_m2", "model.layers.1.block_sparse_moe.e_score_correction_bias"],
  ["afmoe", "model.layers.1.mlp.expert_bias"],
  ["exaone_moe", "model.layers.1.mlp.e_score_correction_bias"],
  ["glm4_moe", "model.layers.1.mlp.gate.e_score_correction_bias"],
  ["ernie4_5_moe", "model.layers.1.mlp.moe_statics.e_score_correction_bias"],
  ["gemma4-experts", "model.layers.1.router.per_expert_scale"],
])("a %s with corrections or factors of experts that are not finite is not opened", async (family, name) => {
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    const directory = await goldenCopy(family);
    await poisonTensor(join(directory, "model.safetensors"), name, value);
    await expect(openModel(directory)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: `${directory}: ${name}: expected finite numbers, got ${value}`,
    });
  }
});

test("names layers beyond those of config.json and its key as the file does", async () => {
  const message = await messageOf("gpt2", () => ({ n_layer: 1 }));
  expect(message).toMatch(
    /^DIR: n_layer: expected \d for the layers in the weights, got 1 \(.*transformer\.h\.1\./,
  );
});
