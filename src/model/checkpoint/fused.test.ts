import { describe, expect, test } from "vitest";
import { tensorsOf } from "../../../test/plans.ts";
import { randomTensor, tinyDelta, tinyModel, tinySpec } from "../../../test/tiny_model.ts";
import { memorySource } from "../../tensor/memory.ts";
import type { Tensor, TensorSource } from "../../tensor/tensor.ts";
import type { ModelSpec } from "../spec.ts";
import { weightsOf } from "../weights.ts";
import { fusedTensors, readFused, splitFused } from "./fused.ts";

const LAYERS = [
  { neurons: 5, kvGroups: 2, groupSize: 3 },
  { neurons: 7, kvGroups: 1, groupSize: 1 },
] as const;

/** A tiny Phi-3 and its checkpoint with fused tensors. */
async function fusedCheckpoint(): Promise<{
  readonly spec: ModelSpec;
  readonly separate: ReadonlyMap<string, Tensor>;
  readonly fused: Map<string, Tensor>;
}> {
  const model = tinyModel({ family: "phi3", layers: LAYERS });
  const separate = await tensorsOf(model);
  const fused = new Map(separate);
  for (const tensor of fusedTensors(model.spec)) {
    fused.set(tensor.name, await readFused(tensor, (part) => model.weights.read(part)));
    for (const part of tensor.parts) fused.delete(part);
  }
  return { spec: model.spec, separate, fused };
}

describe("splitFused", () => {
  test("gives back what was joined, whole and by rows", async () => {
    const { spec, separate, fused } = await fusedCheckpoint();
    const split = splitFused(memorySource(fused), spec);
    expect([...split.names].sort()).toEqual([...separate.keys()].sort());
    for (const { name, shape } of weightsOf(spec)) {
      expect(split.info(name)).toEqual({ dtype: "F32", shape });
      expect(await split.read(name)).toEqual(separate.get(name));
    }
    const name = "model.layers.0.self_attn.k_proj.weight";
    const rows = await split.read(name, { start: 2, end: 5 });
    expect([...rows.data]).toEqual([...separate.get(name)!.data.subarray(2 * 8, 5 * 8)]);
  });

  test("joins rows in the order q, k, v and gate, up", async () => {
    const { fused, separate } = await fusedCheckpoint();
    const data = (...names: readonly string[]): readonly number[] =>
      names.flatMap((name) => [...separate.get(`model.layers.1.${name}.weight`)!.data]);
    expect([...fused.get("model.layers.1.self_attn.qkv_proj.weight")!.data]).toEqual(
      data("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    );
    expect([...fused.get("model.layers.1.mlp.gate_up_proj.weight")!.data]).toEqual(
      data("mlp.gate_proj", "mlp.up_proj"),
    );
  });

  test("joins rows head by head where the family stores them so, weights and biases", async () => {
    const projections = ["q_proj", "k_proj", "v_proj"] as const;
    const model = tinyModel({
      family: "gpt_neox",
      gated: false,
      layers: [{ kvGroups: 3, groupSize: 1, biases: projections }],
    });
    const separate = await tensorsOf(model);
    const fused = new Map(separate);
    for (const tensor of fusedTensors(model.spec, ["query_key_value"])) {
      fused.set(tensor.name, await readFused(tensor, (part) => model.weights.read(part)));
      for (const part of tensor.parts) fused.delete(part);
    }
    const { headDim } = model.spec;
    const biases = projections.map((name) => separate.get(`model.layers.0.self_attn.${name}.bias`)!.data);
    const ofHead = (head: number): readonly number[] =>
      biases.flatMap((data) => [...data.subarray(head * headDim, (head + 1) * headDim)]);
    const joined = fused.get("model.layers.0.self_attn.query_key_value.bias")!;
    expect([...joined.data]).toEqual([0, 1, 2].flatMap(ofHead));
    const split = splitFused(memorySource(fused), model.spec);
    for (const [name, tensor] of separate) {
      expect(await split.read(name), name).toEqual(tensor);
      if (!name.includes("_proj")) continue;
      for (const [start, end] of [
        [1, 3],
        [2, 5],
        [3, 4],
      ] as const) {
        const width = tensor.data.length / tensor.shape[0]!;
        const { data } = await split.read(name, { start, end });
        expect([...data], `${name} ${start}..${end}`).toEqual([
          ...tensor.data.subarray(start * width, end * width),
        ]);
      }
    }
  });

  test("joins rows of a delta rule key head by key head: those of queries, keys, values and gates", async () => {
    const delta = tinyDelta({ keyHeads: 2, valueHeads: 4, keyDim: 3, valueDim: 5 });
    const model = tinyModel({ family: "qwen3_next", layers: [delta, {}] });
    const separate = await tensorsOf(model);
    const fused = new Map(separate);
    for (const tensor of fusedTensors(model.spec, ["in_proj_qkvz", "in_proj_ba"])) {
      fused.set(tensor.name, await readFused(tensor, (part) => model.weights.read(part)));
      for (const part of tensor.parts) fused.delete(part);
    }
    const module = "model.layers.0.linear_attn";
    const rowsOf = (part: string, start: number, count: number): readonly number[] => [
      ...separate.get(`${module}.${part}.weight`)!.data.subarray(start * 8, (start + count) * 8),
    ];
    // Keys come after 2 x 3 rows of queries, values after as many of keys; each key head has two value heads.
    const ofHead = (head: number): readonly number[] => [
      ...rowsOf("in_proj_qkv", 3 * head, 3),
      ...rowsOf("in_proj_qkv", 6 + 3 * head, 3),
      ...rowsOf("in_proj_qkv", 12 + 10 * head, 10),
      ...rowsOf("in_proj_z", 10 * head, 10),
    ];
    expect([...fused.get(`${module}.in_proj_qkvz.weight`)!.data]).toEqual([0, 1].flatMap(ofHead));
    expect([...fused.get(`${module}.in_proj_ba.weight`)!.data]).toEqual(
      [0, 1].flatMap((head) => [...rowsOf("in_proj_b", 2 * head, 2), ...rowsOf("in_proj_a", 2 * head, 2)]),
    );
    const split = splitFused(memorySource(fused), model.spec);
    expect([...split.names].sort()).toEqual([...separate.keys()].sort());
    for (const [name, tensor] of separate) expect(await split.read(name), name).toEqual(tensor);
    for (const [start, end] of [
      [0, 7],
      [2, 14],
      [13, 32],
      [21, 23],
    ] as const) {
      const { data } = await split.read(`${module}.in_proj_qkv.weight`, { start, end });
      expect([...data], `${start}..${end}`).toEqual(rowsOf("in_proj_qkv", start, end - start));
    }
  });

  test("joins and splits queries, values and keys of a quarter of the heads after another", async () => {
    const model = tinyModel({
      family: "gptj",
      gated: false,
      headDim: 1,
      layers: [{ kvGroups: 8, groupSize: 1 }],
    });
    const [tensor] = fusedTensors(model.spec, ["query_value_key"]);
    const parts = new Map(
      tensor!.parts.map((part, i) => [
        part,
        { shape: [8], data: Float32Array.from({ length: 8 }, (_, row) => 10 * i + row) },
      ]),
    );
    const joined = await readFused(tensor!, async (part) => parts.get(part)!);
    const quarters = [0, 2, 4, 6].flatMap((row) =>
      [0, 10, 20].flatMap((part) => [part + row, part + row + 1]),
    );
    expect([...joined.data]).toEqual(quarters);
    const split = splitFused(memorySource(new Map([[tensor!.name, joined]])), model.spec);
    for (const [part, rows] of parts) expect(await split.read(part), part).toEqual(rows);
  });

  test("joins rows of KV groups where a group has several queries", async () => {
    const model = tinyModel({
      family: "falcon",
      gated: false,
      headDim: 1,
      layers: [{ kvGroups: 2, groupSize: 3 }],
    });
    const [tensor] = fusedTensors(model.spec, ["query_key_value"]);
    const ofRows = (rows: readonly number[]): Tensor => ({
      shape: [rows.length],
      data: Float32Array.from(rows),
    });
    const parts = new Map(
      tensor!.parts.map((part, i) => [
        part,
        ofRows(
          [
            [1, 2, 3, 4, 5, 6],
            [10, 20],
            [100, 200],
          ][i]!,
        ),
      ]),
    );
    const joined = await readFused(tensor!, async (part) => parts.get(part)!);
    expect([...joined.data]).toEqual([1, 2, 3, 10, 100, 4, 5, 6, 20, 200]);
    const split = splitFused(memorySource(new Map([[tensor!.name, joined]])), model.spec);
    for (const [part, rows] of parts) expect(await split.read(part)).toEqual(rows);
    const some = await split.read(tensor!.parts[0]!, { start: 2, end: 5 });
    expect([...some.data]).toEqual([3, 4, 5]);
  });

  test("refuses rows outside a part, although the fused tensor has them", async () => {
    const { spec, fused } = await fusedCheckpoint();
    const split = splitFused(memorySource(fused), spec);
    await expect(
      split.read("model.layers.0.self_attn.k_proj.weight", { start: 0, end: 9 }),
    ).rejects.toMatchObject({ code: "BAD_TENSOR" });
  });

  test.each([[[33, 8]], [[31, 8]], [[24, 8]], [[8, 8]], [[]]])(
    "does not take a fused tensor of shape %j for its parts",
    async (shape) => {
      const { spec, fused } = await fusedCheckpoint();
      const name = "model.layers.0.self_attn.qkv_proj.weight";
      expect(fused.get(name)!.shape).toEqual([40, 8]);
      fused.set(name, randomTensor(shape));
      const split = splitFused(memorySource(fused), spec);
      for (const projection of ["q_proj", "k_proj", "v_proj"]) {
        expect(split.info(`model.layers.0.self_attn.${projection}.weight`)).toBeUndefined();
      }
      expect(split.info(name)?.shape).toEqual(shape);
    },
  );

  test("gives no info on a part of a tensor that is missing", () => {
    const empty: TensorSource = memorySource(new Map());
    const split = splitFused(empty, tinySpec({ family: "phi3" }));
    expect(split.info("model.layers.0.mlp.up_proj.weight")).toBeUndefined();
  });
});
