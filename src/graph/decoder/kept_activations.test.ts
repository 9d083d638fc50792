import { describe, expect, test } from "vitest";
import { randomWindows } from "../../../test/random_windows.ts";
import { tinyDelta, tinyModel } from "../../../test/tiny_model.ts";
import { gateStatistics } from "../../calibrate/gate_stats.ts";
import type { Model } from "../../model/model.ts";
import { valueBytes } from "../ir/footprint.ts";
import { CPU, type Device } from "../runtime/device.ts";
import { LOT_BYTES, ROOMY } from "../runtime/memory_policy.ts";
import { Runtime } from "../runtime/runtime.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { microBatches } from "./forward.ts";
import { keepsActivations, keptBytes } from "./kept_activations.ts";
import { layerSizes, layerStructure } from "./layer_structure.ts";
import { LAYER_PROGRAMS, structureFor } from "./programs.ts";

const model = tinyModel({ layers: [{}, { neurons: 9 }, {}, { kvGroups: 3 }] });
const SETS = [
  { name: "a", windows: randomWindows([12, 12, 12, 7, 7], { seed: 1 }) },
  { name: "b", windows: randomWindows([12, 12, 12, 12], { seed: 2 }) },
];

describe("keeping activations", () => {
  /** Gate statistics, the number of lots, and how often the most read tensor was read whole. */
  async function measured(lotBytes: number, keepActivations: boolean) {
    const runtime = new Runtime({ threads: 1, memory: { ...ROOMY, lotBytes, keepActivations } });
    const reads = new Map<string, number>();
    const read: Model["weights"]["read"] = (name, rows) => {
      if (rows === undefined) reads.set(name, (reads.get(name) ?? 0) + 1);
      return model.weights.read(name, rows);
    };
    const watched = { ...model, weights: { ...model.weights, read } };
    let lots = 0;
    const stats = await gateStatistics(new DecoderRunner(watched, runtime), SETS, {
      damped: true,
      checkpoints: {
        restore: async () => undefined,
        reached: async () => {
          lots++;
        },
      },
    });
    await runtime.close();
    return { stats, lots, most: Math.max(...reads.values()) };
  }

  test("gives the same bits in lots of any size, and reads a tensor once", async () => {
    const expected = await measured(LOT_BYTES.memory, false);
    expect(expected).toMatchObject({ lots: 1, most: 2 });
    const together = await measured(LOT_BYTES.memory, true);
    expect(together).toEqual({ ...expected, most: 1 });
    const batches = SETS.flatMap(({ windows }) => microBatches(windows)).length;
    const alone = await measured(1, true);
    expect(alone).toEqual({ ...expected, lots: batches, most: 1 });
    // Kept activations take more than layer inputs.
    const { hiddenSize, layers } = model.spec;
    const tokens = SETS.flatMap(({ windows }) => windows).reduce((sum, { length }) => sum + length, 0);
    const inputs = 4 * hiddenSize * layers.length * tokens;
    expect(await measured(inputs, false)).toMatchObject({ lots: 1 });
    const bytes = inputs + keptBytes(model.spec) * tokens;
    expect(await measured(bytes - 1, true)).toMatchObject({ lots: 2 });
    expect(await measured(bytes, true)).toMatchObject({ lots: 1 });
  });

  test("is done on the CPU only", () => {
    const keeps = (name: Device["name"]): boolean =>
      keepsActivations({ memory: { ...ROOMY, keepActivations: true }, device: { ...CPU, name } });
    expect([keeps("cpu"), keeps("cuda"), keeps("webgpu")]).toEqual([true, false, false]);
  });
});

test("those of a delta rule, whose graph is made for a length, grow with it", () => {
  const { spec } = tinyModel({ layers: [tinyDelta()] });
  const structure = layerStructure(spec, 0);
  const tokens = 100;
  const { outputs } = LAYER_PROGRAMS.keeping(structureFor("keeping", structure, { tokens, window: null }));
  const kept = [...outputs].flatMap(([name, value]) => (name === "hidden" ? [] : [value]));
  const bytes = valueBytes(kept, { B: 1, T: tokens, ...layerSizes(spec.layers[0]!) });
  expect(kept.length).toBeGreaterThan(0);
  expect(keptBytes(spec)).toBe(bytes / tokens);
});
