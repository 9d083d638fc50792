/**
 * Progress of distributed runs, the model that workers open, and options of `gprune worker`. Servers and failures are
 * in workers.test.ts.
 */
import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { type PruneOptions, prune, type RunConfig, resolveRunConfig } from "../src/index.ts";
import { distributed, runWorker, type WorkerEvent } from "../src/workers/index.ts";
import { suiteDirectory } from "./directories.ts";
import { MockHub } from "./mock_hub.ts";
import { hasRedis, RedisServer } from "./redis_server.ts";
import { type CliRun, hashes, startCli } from "./run_cli.ts";
import { demoText, writeTinyCheckpoint } from "./tiny_checkpoint.ts";

describe.runIf(hasRedis)("a distributed run", { timeout: 120_000 }, () => {
  const root = suiteDirectory("told");
  let server: RedisServer;
  let model: string;
  let names = 0;

  beforeAll(async () => {
    server = await RedisServer.start(join(root(), "server"));
    model = await writeTinyCheckpoint(join(root(), "model"));
  });
  afterAll(async () => {
    await server?.kill();
  });

  function freshName(): string {
    names += 1;
    return join(root(), `${names}`);
  }

  function configOf(name: string): RunConfig {
    const calibration = [{ name: "code", path: demoText("calibration", "code") }];
    const small = { samples: 4, seqLen: 48, method: "none", recover: "lstsq", report: false } as const;
    return resolveRunConfig({ model: name, output: freshName(), calibration, threads: 1, ...small }, "test");
  }

  /** Prunes with one worker, one layer in each unit. @returns hashes of the output */
  async function pruned(
    config: RunConfig,
    options: PruneOptions,
    onEvent: (event: WorkerEvent) => void = () => {},
  ): Promise<unknown> {
    const store = freshName();
    const end = new AbortController();
    const worker = runWorker({ redis: server.url, store, threads: 1, signal: end.signal, onEvent });
    try {
      const openPasses = distributed({ redis: server.url, store, threads: 1, layersPerUnit: 1 });
      await prune(config, { openPasses, ...options });
    } finally {
      end.abort();
      await worker;
    }
    return hashes(config.output, ["model.safetensors", "plan.json"]);
  }

  test("says how far calibration is while windows go through the layers, up to the last unit", async () => {
    const started: string[] = [];
    let [told, before, layersRefitted] = [0, -1, 0];
    // A metric that needs no statistics.
    const config: RunConfig = { ...configOf(model), metric: "magnitude" };
    await pruned(
      config,
      {
        onProgress: ({ stage, done, total }) => {
          if (stage === "calibrate") told = done / total;
          if (stage === "recover") layersRefitted = done;
        },
      },
      (event) => {
        if (event.event !== "started") return;
        started.push(event.what);
        if (event.what.startsWith("moments") && before < 0) before = told;
      },
    );
    // Two of three layers in statistics units, then all three in moments units.
    expect(before).toBeCloseTo(0.4, 9);
    expect(told).toBeCloseTo(1, 9);
    expect(layersRefitted).toBe(3);
    const count = (what: string): number => started.filter((own) => own === what).length;
    expect(count("statistics of layers 2-2")).toBe(count("statistics of layers 1-1"));
    expect(count("statistics of layers 3-3")).toBeLessThan(count("statistics of layers 2-2"));
    for (const layer of [1, 2, 3]) {
      expect(count(`moments of layers ${layer}-${layer}`)).toBe(1);
      expect(count(`refit of layers ${layer}-${layer}`)).toBe(1);
    }
  });

  test("names a model of the hub so that workers find it there, whichever way it was named", async () => {
    const hub = await MockHub.start();
    const files = (await readdir(model)).map(async (name) => {
      return [name, { bytes: await readFile(join(model, name)) }] as const;
    });
    hub.add({ name: "models/org/tiny", files: new Map(await Promise.all(files)) });
    const [own, others] = [freshName(), freshName()];
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HOME", own);
    onTestFinished(async () => {
      vi.unstubAllEnvs();
      await hub.close();
    });
    // At that time this process has its copy, and the worker's child has not started.
    const onForeseen = (): void => void vi.stubEnv("HF_HOME", others);
    const found = await pruned(configOf("org/tiny"), { onForeseen });
    expect(await readdir(join(others, "hub"))).toEqual(["models--org--tiny"]);
    expect(found).toEqual(await pruned(configOf(model), {}));
  });

  /** Starts `gprune worker`. @returns it and the store */
  function commanded(...options: readonly string[]): { readonly worker: CliRun; readonly store: string } {
    const store = freshName();
    const worker = startCli(["worker", "--redis", server.url, "--store", store, "--json", ...options]);
    onTestFinished(() => void worker.child.kill("SIGKILL"));
    return { worker, store };
  }

  test("leaves a worker whose --model is another one", async () => {
    const other = await writeTinyCheckpoint(freshName(), { hiddenSize: 8 });
    const { worker, store } = commanded("--model", other);
    const end = new AbortController();
    const openPasses = distributed({ redis: server.url, store });
    const run = prune(configOf(model), { openPasses, signal: end.signal }).catch(({ code }) => code);
    const { code, stderr } = await worker.result;
    end.abort();
    expect([code, await run]).toEqual([1, "INTERRUPTED"]);
    expect(stderr).toContain(other);
  });

  test("gives up a unit that takes longer than --unit-limit", async () => {
    const { worker, store } = commanded("--unit-limit", "1");
    // Pauses the process that computes units.
    createInterface(worker.child.stdout!).on("line", (line) => {
      const { pid } = JSON.parse(line) as { readonly pid?: number };
      if (pid !== undefined) spawnSync("kill", ["-STOP", `${pid}`]);
    });
    const openPasses = distributed({ redis: server.url, store });
    await expect(prune(configOf(model), { openPasses })).rejects.toMatchObject({
      code: "UNIT_FAILED",
      message: expect.stringContaining("ended by the time limit of 1 s"),
    });
    worker.child.kill("SIGTERM");
    expect(await worker.result).toMatchObject({ code: 0 });
  });
});
