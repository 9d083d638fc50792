import { describe, expect, test } from "vitest";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { withTensors } from "./with_tensors.ts";

const model = tinyModel();
const norm = randomTensor([8], { name: "new" });
const bias = randomTensor([8], { name: "bias" });
const layers = model.spec.layers.map((layer) => ({ ...layer, biases: ["o_proj"] as const }));
const changed = withTensors(
  model,
  new Map([
    ["bias", bias],
    ["model.norm.weight", norm],
  ]),
  layers,
);

describe("withTensors", () => {
  test("replaces and adds, and reads the rest from the model", async () => {
    expect(changed.weights.names).toEqual([...model.weights.names, "bias"]);
    expect(await changed.weights.read("model.norm.weight")).toBe(norm);
    expect(changed.weights.info("bias")).toEqual({ dtype: "F32", shape: [8] });
    expect((await changed.weights.read("bias", { start: 2, end: 4 })).data).toEqual(bias.data.slice(2, 4));
    const other = "model.layers.0.mlp.up_proj.weight";
    expect(changed.weights.info(other)).toEqual(model.weights.info(other));
    expect(await changed.weights.read(other)).toBe(await model.weights.read(other));
  });

  test("changes the layers and not the model it was given", async () => {
    expect(changed.spec).toEqual({ ...model.spec, layers });
    expect(await model.weights.read("model.norm.weight")).not.toEqual(norm);
    expect(model.weights.info("bias")).toBeUndefined();
  });
});
