import { afterAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { calibrate } from "./calibrate.ts";
import { gatherEvidence } from "./evidence.ts";
import { localPasses } from "./passes.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

describe("gatherEvidence", () => {
  test("has halves of sets that have two windows, and of no others", async () => {
    const model = tinyModel({});
    const [windows, window] = [randomWindows([8, 8, 8]), randomWindows([8], { seed: 1 })];
    const sets = [
      { name: "several", windows },
      { name: "single", windows: window },
    ];
    const { evidence, moments } = await gatherEvidence({ model, passes: localPasses(model, runtime) }, sets);
    const tokens = evidence.get("several")!.halves?.map(({ stats }) => stats.tokens);
    expect(tokens).toEqual([16, 8]);
    const { whole, halves } = evidence.get("single")!;
    expect(halves).toBeNull();
    const stats = await calibrate(new DecoderRunner(model, runtime), sets);
    expect(whole.stats).toEqual(stats.get("single"));
    expect(moments.size).toBe(0);
  });
});
