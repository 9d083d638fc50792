import { afterAll, describe, expect, test } from "vitest";
import { inMemory } from "../../test/moments.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { Activations } from "../calibrate/calibrate.ts";
import { measuredSets } from "../calibrate/measured_sets.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { type ConnectedPasses, type RemoteActivations, runPasses } from "./passes.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const model = tinyModel();
const set = { name: "a", weight: 1, windows: randomWindows([8, 8, 8]) };
const measured = measuredSets([set], [set]);

/** Remote passes with these results. */
function elsewhere(found: RemoteActivations): ConnectedPasses {
  const none = (): never => {
    throw new Error("not asked for");
  };
  return {
    gateStatistics: none,
    slopes: none,
    losses: none,
    refit: none,
    close: none,
    activations: async () => found,
  };
}

describe("runPasses", () => {
  test("takes statistics and moments from the connected passes", async () => {
    const found: Activations = { stats: new Map(), moments: new Map() };
    const { stats, moments } = await runPasses(model, runtime, elsewhere(found)).activations(measured);
    expect(stats).toBe(found.stats);
    expect(moments).toBe(found.moments);
  });

  test("computes both itself where the connected passes give no moments", async () => {
    const unsure = elsewhere({ stats: new Map(), moments: null });
    const found = await runPasses(model, runtime, unsure).activations(measured);
    const expected = await runPasses(model, runtime).activations(measured);
    expect(found.stats).toEqual(expected.stats);
    expect(await inMemory(found.moments)).toEqual(await inMemory(expected.moments));
    expect(found.moments.size).toBe(4);
  });
});
