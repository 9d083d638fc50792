import { join } from "node:path";
import { expect, test } from "vitest";
import { openGolden, readAll } from "../../../test/golden_model.ts";
import { memorySource } from "../../tensor/memory.ts";
import type { Tensor, TensorSource } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import type { ModelSpec } from "../spec.ts";
import { joinParts } from "./parts.ts";
import { withUsualNames } from "./stored_names.ts";

const FAMILY = familyByName("olmo_hybrid", "test");
const LAYER = "model.layers.0.";
const FILTERS = ["q", "k", "v"].map((part) => `${LAYER}linear_attn.${part}_conv1d.weight`);
const WHOLE_FILTERS = `${LAYER}linear_attn.conv1d.weight`;

async function golden(): Promise<{ readonly spec: ModelSpec; readonly stored: Map<string, Tensor> }> {
  const { model } = await openGolden("olmo_hybrid");
  const path = join(import.meta.dirname, "../../../test/golden/olmo_hybrid/model.safetensors");
  return { spec: model.spec, stored: new Map(await readAll(path)) };
}

function joined(stored: ReadonlyMap<string, Tensor>, spec: ModelSpec): TensorSource {
  return joinParts(withUsualNames(memorySource(new Map(stored)), FAMILY.stored).tensors, spec, FAMILY);
}

/** Rows of tensors, one's after another's. */
function together(tensors: readonly Tensor[]): number[] {
  return tensors.flatMap(({ data }) => [...data]);
}

test("rows of parts follow one another, wherever reading begins and ends", async () => {
  const { spec, stored } = await golden();
  const parts = ["q_proj", "k_proj", "v_proj"].map((part) => `${LAYER}linear_attn.${part}.weight`);
  const source = joined(stored, spec);
  const name = `${LAYER}linear_attn.in_proj_qkv.weight`;
  const { shape, data } = await source.read(name);
  expect(source.info(name)).toEqual({ dtype: "F32", shape });
  expect([...data]).toEqual(together(parts.map((part) => stored.get(part)!)));
  expect(source.names).not.toContain(parts[0]);
  const [rows, width] = shape as readonly [number, number];
  const first = stored.get(parts[0]!)!.shape[0]!;
  for (const [start, end] of [
    [0, rows],
    [first - 1, first + 1],
    [3, first],
    [first, rows - 1],
    [7, 7],
  ] as const) {
    const some = await source.read(name, { start, end });
    expect(some.shape).toEqual([end - start, width]);
    expect(some.data).toEqual(data.subarray(start * width, end * width));
  }
  await expect(source.read(name, { start: 0, end: rows + 1 })).rejects.toMatchObject({ code: "BAD_TENSOR" });
});

test("parts may be cut and named as transformers 5 saves them, or be whole in the file", async () => {
  const { spec, stored } = await golden();
  const expected = joined(stored, spec);
  const filters = await expected.read(WHOLE_FILTERS);
  const saved = new Map(
    [...stored].map(([name, tensor]) => [
      name
        .replace("input_layernorm", "attention_layer_norm")
        .replace("post_attention_layernorm", "feedforward_layer_norm"),
      tensor,
    ]),
  );
  const third = filters.shape[0]! / 3;
  expect(stored.get(FILTERS[2]!)!.shape[0]).not.toBe(third);
  const width = filters.data.length / 3;
  for (const [index, name] of FILTERS.entries()) {
    const data = filters.data.slice(index * width, (index + 1) * width);
    saved.set(name, { shape: filters.shape.with(0, third), data });
  }
  const whole = new Map(stored).set(WHOLE_FILTERS, filters);
  for (const name of FILTERS) whole.delete(name);
  for (const source of [joined(saved, spec), joined(whole, spec)]) {
    expect([...source.names].sort()).toEqual([...expected.names].sort());
    for (const name of expected.names) expect(await source.read(name)).toEqual(await expected.read(name));
  }
});

test("a tensor is missing where a part is, or has rows of another size", async () => {
  const { spec, stored } = await golden();
  const { shape, data } = stored.get(FILTERS[1]!)!;
  const narrow = { shape: [shape[0]! * shape[2]!, 1, 1], data };
  for (const other of [undefined, narrow]) {
    const changed = new Map(stored);
    if (other === undefined) changed.delete(FILTERS[1]!);
    else changed.set(FILTERS[1]!, other);
    expect(joined(changed, spec).info(WHOLE_FILTERS)).toBeUndefined();
  }
});
