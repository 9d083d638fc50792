import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { maxDifference } from "../../test/numbers.ts";
import { tensorsOf } from "../../test/plans.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { exportGguf } from "./gguf.ts";

test.each(["starcoder2", "phi", "gpt_neox"] as const)(
  "zeros are the biases that %s lacks",
  async (family) => {
    const { layers = [], ...options } = TINY_FAMILIES[family];
    const model = tinyModel({ ...options, layers: layers.map((layer) => ({ ...layer, biases: [] })) });
    const path = join(await temporaryDirectory(), "out.gguf");
    const { warnings } = await exportGguf(model, path);
    expect(warnings).toEqual([expect.stringContaining("no vocabulary")]);
    const opened = await openModel(path);
    const before = await tensorsOf(model);
    for (const [name, { data }] of await tensorsOf(opened)) {
      const expected = before.get(name)?.data ?? new Float32Array(data.length);
      expect(maxDifference(data, expected), name).toBe(0);
    }
    for (const { biases } of opened.spec.layers) {
      expect(biases).toEqual(expect.arrayContaining(["o_proj", "up_proj", "down_proj"]));
    }
    await opened.weights.close();
  },
);
