import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { suiteDirectory } from "../../test/directories.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { CPU, type Device } from "../graph/runtime/device.ts";
import { peakResidentBytes } from "../io/files/machine.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { peakMemory } from "./peak_memory.ts";

const WORKLOAD = { batch: 1, promptTokens: 8, newTokens: 2, threads: 1, device: CPU };

const directory = suiteDirectory("peak");
const models: Record<string, Model> = {};

beforeAll(async () => {
  for (const [name, neurons] of Object.entries({ small: 64, large: 400_000 })) {
    const path = join(directory(), name);
    await writeTinyCheckpoint(path, { layers: [{ neurons }, { neurons }] });
    models[name] = await openModel(path);
  }
});
afterAll(async () => {
  for (const { weights } of Object.values(models)) await weights.close();
});

describe("the peak memory with one model", () => {
  test("is that of the model alone, whatever was measured before and whatever the caller holds", async () => {
    const ballast = Buffer.alloc(2 ** 30, 1);
    const held = peakResidentBytes();
    expect(held).toBeGreaterThan(ballast.length);
    const large = await peakMemory(models.large!, WORKLOAD);
    const small = await peakMemory(models.small!, WORKLOAD);
    const weights = 4 * (parameterCount(models.large!.spec) - parameterCount(models.small!.spec));
    expect(large! - small!).toBeGreaterThan(0.8 * weights);
    expect(large).toBeLessThan(ballast.length);
    expect(small).toBeGreaterThan(2 ** 24);
  });

  test("is unknown for a model that is not on the disk as it is", async () => {
    expect(await peakMemory(tinyModel(), WORKLOAD)).toBeNull();
    const { small, large } = models as Record<"small" | "large", Model>;
    expect(await peakMemory({ ...small, origin: large.origin }, WORKLOAD)).toBeNull();
  });

  test("names the model whose process failed, and why", async () => {
    const { origin, ...rest } = models.small!;
    const gone: Model = { ...rest, origin: { ...origin, name: "gone", path: join(directory(), "gone") } };
    await expect(peakMemory(gone, WORKLOAD)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(/^memory of gone: .*gone: expected a /),
    });
    const device = { name: "abacus", dtype: "fp32" } as unknown as Device;
    await expect(peakMemory(models.small!, { ...WORKLOAD, device })).rejects.toMatchObject({
      code: expect.not.stringMatching("OUT_OF_MEMORY"),
      message: expect.stringMatching(/memory of .*small: /),
    });
  });

  test("is out of memory where the process got none", async () => {
    vi.stubEnv("NODE_OPTIONS", "--max-old-space-size=12");
    onTestFinished(() => void vi.unstubAllEnvs());
    await expect(peakMemory(models.small!, WORKLOAD)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      hint: expect.stringContaining("--prompt-tokens"),
    });
  });
});
