import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../test/file_faults.ts";
import { tinyModel } from "../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig } from "./config.ts";
import { planMemory } from "./memory_plan.ts";
import { estimateNeeds, type Needs, requireRoom } from "./preflight.ts";
import { settle } from "./run_inputs.ts";

const model = tinyModel({ vocabSize: 1000, hiddenSize: 64, layers: [{ neurons: 256 }, { neurons: 512 }] });

function needs(settings: RunConfigInput, tokens = 1000, kept = 0): Needs {
  const calibration = [{ name: "web", path: "web.txt" }];
  const input = { model: "m", output: "o", calibration, ownText: "never", ...settings } as const;
  const config = settle(resolveRunConfig(input, "test"), model.spec);
  const refitTokens = 3 * tokens;
  const run = {
    spec: model.spec,
    config,
    tokens,
    refitTokens,
    checks: true,
    allocation: "learned",
    gradients: false,
  };
  const plan = planMemory(run, Number.POSITIVE_INFINITY);
  return estimateNeeds(model, config, { plan, tokens, refitTokens, kept });
}

describe("estimateNeeds", () => {
  test("grows with tokens and with what recovery does, and shrinks with sparsity and dtype", () => {
    const { memory, disk } = needs({ recover: "bias" });
    expect(needs({ recover: "bias" }, 1e6).memory).toBeGreaterThan(memory);
    const big = 1e6;
    expect(needs({ recover: "lstsq" }, big).memory).toBeGreaterThan(
      needs({ recover: "bias" }, big).memory - 2 ** 28,
    );
    expect(needs({ recover: "lstsq" }).disk).toBeGreaterThan(disk);
    expect(needs({ recover: "distill" }).disk).toBeGreaterThan(needs({ recover: "lstsq" }).disk);
    expect(needs({ recover: "bias", sparsity: 0.6 }).disk).toBeLessThan(disk);
    expect(needs({ recover: "bias", dtype: "bf16" }).disk).toBeLessThan(disk);
  });

  test("leaves out what a run that is resumed has on the disk already", () => {
    const { disk } = needs({ recover: "distill" });
    expect(needs({ recover: "distill" }, 1000, 1e5).disk).toBe(disk - 1e5);
    expect(needs({ recover: "distill" }, 1000, 2 * disk).disk).toBe(0);
  });

  test("is at least the output and the hidden states", () => {
    const parameters = 1000 * 64 + 64;
    expect(needs({ recover: "none", sparsity: 0.9 }, 10).disk).toBeGreaterThan(4 * parameters + 4 * 10 * 64);
  });
});

describe("requireRoom", () => {
  test("lets pass what there is room for, and refuses the rest before it begins", async () => {
    const output = join(await temporaryDirectory(), "not", "there", "yet");
    await requireRoom({ memory: 1e6, disk: 1e3 }, output);
    await expect(requireRoom({ memory: 2 ** 60, disk: 0 }, output)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/^memory: expected 1073741824 GiB for this run, got [\d.]+ GiB$/),
    });
    const ways = () => ["this", "that"];
    await expect(requireRoom({ memory: 2 ** 60, disk: 0 }, output, ways)).rejects.toMatchObject({
      hint: "Give this or that.",
    });
    await expect(requireRoom({ memory: 0, disk: 2 ** 62 }, output)).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: expect.stringMatching(/yet: expected 4294967296 GiB of free space, got [\d.]+ GiB$/),
    });
  });
});
