import { describe, expect, test } from "vitest";
import { openGolden } from "../../../test/golden_model.ts";
import { tensorsOf } from "../../../test/plans.ts";
import { TINY_FAMILIES } from "../../../test/tiny_families.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { memorySource } from "../../tensor/memory.ts";
import type { Tensor, TensorSource } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import type { Family } from "../family.ts";
import type { ModelSpec } from "../spec.ts";
import { weightsOf } from "../weights.ts";
import { type ExpertTensor, expertTensors, joinExperts, readableExperts, readExperts } from "./experts.ts";
import { namingOf, storedName, withUsualNames } from "./stored_names.ts";

const EXPERTS = { count: 3, active: 2, normalised: false } as const;
const QWEN = familyByName("qwen2_moe", "test");

/** Tensors that hold all experts of a layer. */
const tensorsOfAll = (spec: ModelSpec, family: Family): readonly ExpertTensor[] =>
  readableExperts({ names: [] }, spec, family);

/** A tiny Qwen2 MoE whose second layer has no experts, and its tensors with those of experts stored in either way. */
async function checkpoint(storage: "apart" | "together"): Promise<{
  readonly spec: ModelSpec;
  readonly joined: ReadonlyMap<string, Tensor>;
  readonly stored: Map<string, Tensor>;
}> {
  const layers = [{ neurons: 12, experts: EXPERTS }, {}, { neurons: 6, experts: { ...EXPERTS, shared: 5 } }];
  const model = tinyModel({ family: "qwen2_moe", layers });
  const joined = await tensorsOf(model);
  const stored = new Map(joined);
  const ofExperts = storage === "apart" ? expertTensors(model.spec, QWEN) : tensorsOfAll(model.spec, QWEN);
  for (const tensor of ofExperts) {
    const read = async (
      name: string,
      rows?: { readonly start: number; readonly end: number },
    ): Promise<Tensor> => model.weights.read(name, rows);
    stored.set(tensor.name, await readExperts(model.spec, tensor, read));
    for (const part of tensor.parts) stored.delete(`model.layers.${tensor.layer}.mlp.${part}.weight`);
  }
  return { spec: model.spec, joined, stored };
}

const join = (stored: ReadonlyMap<string, Tensor>, spec: ModelSpec, family: Family = QWEN): TensorSource =>
  joinExperts(memorySource(stored), spec, family);

describe.each(["apart", "together"] as const)("tensors of experts that are stored %s", (storage) => {
  test("are read as those of one FFN, whole and by rows", async () => {
    const { spec, joined, stored } = await checkpoint(storage);
    const source = join(stored, spec);
    expect([...source.names].sort()).toEqual([...joined.keys()].sort());
    for (const { name, shape } of weightsOf(spec)) {
      expect(source.info(name)).toEqual({ dtype: "F32", shape });
      expect(await source.read(name), name).toEqual(joined.get(name));
      const rows = { start: Math.min(2, shape[0]! - 1), end: Math.max(shape[0]! - 1, 1) };
      expect((await source.read(name, rows)).data, name).toEqual(rowsOf(joined.get(name)!, rows));
    }
  });

  test("are not joined where one is missing or of another shape", async () => {
    const { spec, stored } = await checkpoint(storage);
    const readable = readableExperts(memorySource(stored), spec, QWEN);
    const names = readable.flatMap(({ name }) => (stored.has(name) ? [name] : []));
    for (const name of names) {
      const missing = new Map(stored);
      missing.delete(name);
      const [own] = readable.filter((tensor) => tensor.name === name);
      const parts = own!.parts.map((part) => `model.layers.${own!.layer}.mlp.${part}.weight`);
      const shape = stored.get(name)!.shape;
      const misshapen = new Map(stored).set(name, randomTensor(shape.with(-1, shape.at(-1)! + 1)));
      for (const source of [join(missing, spec), join(misshapen, spec)])
        for (const part of parts) expect(source.info(part), part).toBeUndefined();
      expect(join(misshapen, spec).info(name)?.shape).toEqual(shape.with(-1, shape.at(-1)! + 1));
    }
  });

  test("are left as they are in families without experts", async () => {
    const { spec, stored } = await checkpoint(storage);
    const llama = familyByName("llama", "test");
    expect([...join(stored, spec, llama).names]).toEqual([...stored.keys()]);
  });
});

test("square matrices that a Qwen3-VL could have transposed are read as they are", async () => {
  const family = familyByName("qwen3_moe", "test");
  const { layers: _, ...switches } = TINY_FAMILIES.qwen3_moe;
  // Experts as wide as the hidden state, 8, and half as wide, so that one of the two tensors is square.
  const layers = [24, 12].map((neurons) => ({ neurons, experts: EXPERTS }));
  const model = tinyModel({ ...switches, layers });
  const joined = await tensorsOf(model);
  const stored = new Map(joined);
  for (const tensor of tensorsOfAll(model.spec, family)) {
    if (tensor.expert !== null || tensor.transposed) continue;
    const written = await readExperts(model.spec, tensor, (name, rows) => model.weights.read(name, rows));
    stored.set(tensor.name, written);
    for (const part of tensor.parts) stored.delete(`model.layers.${tensor.layer}.mlp.${part}.weight`);
  }
  const source = join(stored, model.spec, family);
  expect([...source.names].sort()).toEqual([...joined.keys()].sort());
  for (const [name, tensor] of joined) expect(await source.read(name), name).toEqual(tensor);
});

test("transposed tensors of experts whose parts take turns, and biases, are read as they were written", async () => {
  const family = familyByName("gpt_oss", "test");
  const { layers, ...switches } = TINY_FAMILIES.gpt_oss;
  // Experts as wide as the hidden state, so that shapes do not say which axis is which.
  const model = tinyModel({ ...switches, layers: layers!.map((layer) => ({ ...layer, neurons: 24 })) });
  const joined = await tensorsOf(model);
  const stored = new Map(joined);
  for (const tensor of expertTensors(model.spec, family)) {
    stored.set(
      tensor.name,
      await readExperts(model.spec, tensor, (name, rows) => model.weights.read(name, rows)),
    );
    for (const part of tensor.parts)
      stored.delete(`model.layers.${tensor.layer}.mlp.${part}.${tensor.bias ? "bias" : "weight"}`);
  }
  // The second input of the first expert: a gate, what it is multiplied by, the next gate.
  const { shape, data } = stored.get("model.layers.0.mlp.experts.gate_up_proj")!;
  expect(shape).toEqual([3, 8, 16]);
  const [gates, factors] = ["gate_proj", "up_proj"].map((part) => {
    return joined.get(`model.layers.0.mlp.${part}.weight`)!.data;
  });
  expect([...data.subarray(16, 19)]).toEqual([gates![1], factors![1], gates![9]]);
  const source = join(stored, model.spec, family);
  expect([...source.names].sort()).toEqual([...joined.keys()].sort());
  for (const { name, shape: whole } of weightsOf(model.spec)) {
    expect(await source.read(name), name).toEqual(joined.get(name));
    const rows = { start: Math.min(2, whole[0]! - 1), end: Math.max(whole[0]! - 1, 1) };
    expect((await source.read(name, rows)).data, name).toEqual(rowsOf(joined.get(name)!, rows));
  }
});

test("experts are written one by one, or together where the family's checkpoints have them so", () => {
  const { spec } = tinyModel({ layers: [{ neurons: 6, experts: EXPERTS }] });
  const names = (family: string): readonly string[] =>
    expertTensors(spec, familyByName(family, "test")).map(({ name }) => name.replace("model.layers.0.", ""));
  expect(names("qwen3_5_moe_text")).toContain("mlp.experts.2.up_proj.weight");
  expect(names("qwen3_5_moe_text")).toHaveLength(9);
  expect(names("granitemoe")).toHaveLength(2);
  expect(names("llama")).toEqual([]);
});

test("of experts stored together, the gates of one come before what they multiply", async () => {
  const { joined, stored } = await checkpoint("together");
  const { shape, data } = stored.get("model.layers.0.mlp.experts.gate_up_proj")!;
  expect(shape).toEqual([3, 8, 8]);
  const rows = { start: 4, end: 8 };
  const second = ["gate_proj", "up_proj"].flatMap((part) => [
    ...rowsOf(joined.get(`model.layers.0.mlp.${part}.weight`)!, rows),
  ]);
  expect([...data.subarray(64, 128)]).toEqual(second);
});

function rowsOf({ shape, data }: Tensor, { start, end }: { start: number; end: number }): Float32Array {
  const width = data.length / shape[0]!;
  return data.subarray(start * width, end * width);
}

/** Names of parts of layers in transformers 5's class, by those in files (`save_original_format=False`). */
const IN_MEMORY: readonly (readonly [golden: string, names: Readonly<Record<string, string>>])[] = [
  ["mixtral", { "block_sparse_moe.gate": "mlp.gate" }],
  ["minimax_m2", { block_sparse_moe: "mlp" }],
  ["granitemoe", { "block_sparse_moe.router.layer": "block_sparse_moe.router" }],
  ["granitemoeshared", { "block_sparse_moe.router.layer": "block_sparse_moe.router" }],
  ["granitemoehybrid-experts", { "block_sparse_moe.router.layer": "block_sparse_moe.router" }],
  ["hunyuan_v1_moe", {}],
  ["exaone_moe", { "mlp.e_score_correction_bias": "mlp.gate.e_score_correction_bias" }],
  ["dots1", {}],
  ["solar_open", {}],
  ["afmoe", {}],
  [
    "laguna",
    {
      "mlp.experts.e_score_correction_bias": "mlp.gate.e_score_correction_bias",
      "mlp.shared_expert.": "mlp.shared_experts.",
    },
  ],
  ["mellum", {}],
  ["phimoe", { "block_sparse_moe.gate": "mlp.router" }],
  ["flex_olmo", {}],
  ["cohere2_moe", {}],
  ["lfm2_moe", {}],
  ["minicpm5_moe", { "self_attn.q_proj": "self_attn.q_gate_proj" }],
  ["lfm3", { "self_attn.gate_proj": "self_attn.g_proj" }],
  ["glm4_moe", {}],
  ["ernie4_5_moe", { "mlp.moe_statics": "mlp.gate.moe_statics" }],
];
const MODULES_IN_MEMORY: Readonly<Record<string, string>> = {
  ...{ granitemoe: "block_sparse_moe", granitemoeshared: "block_sparse_moe" },
  ...{ "granitemoehybrid-experts": "block_sparse_moe" },
  lfm2_moe: "feed_forward",
};

test.each(IN_MEMORY)("a %s is read with the names of transformers' class", async (golden, renamed) => {
  const { model } = await openGolden(golden);
  const { spec, weights } = model;
  const family = familyByName(spec.family, "test");
  const naming = namingOf(family, spec);
  const module = MODULES_IN_MEMORY[golden] ?? "mlp";
  const tensors = new Map<string, Tensor>();
  for (const { name } of weightsOf(spec)) {
    if (/\.mlp\.(gate|up|down)_proj\./.test(name) && spec.layers[Number(name.split(".")[2])]!.experts)
      continue;
    const inFile = storedName(name, naming);
    const [from, to] = Object.entries(renamed).find(([part]) => inFile.includes(`.${part}`)) ?? ["", ""];
    tensors.set(inFile.replace(from, to), await weights.read(name));
  }
  for (const tensor of tensorsOfAll(spec, family)) {
    const last = /\.mlp\.experts\.(gate_up_proj|down_proj)$/.exec(tensor.name)?.[1];
    if (last === undefined) continue;
    const read = (name: string, rows?: { start: number; end: number }): Promise<Tensor> =>
      weights.read(name, rows);
    const stored = `model.layers.${tensor.layer}.${module}.experts.${last}`;
    tensors.set(stored, await readExperts(spec, tensor, read));
  }
  const named = withUsualNames(memorySource(tensors), naming);
  const source = joinExperts(named.tensors, spec, family);
  for (const { name } of weightsOf(spec))
    expect(await source.read(name), name).toEqual(await weights.read(name));
  await weights.close();
});
