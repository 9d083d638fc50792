import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { suiteDirectory } from "../../test/directories.ts";
import { failingAt, KINDS } from "../../test/fault_walk.ts";
import { letterModel } from "../../test/letter_model.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { type ProgressEvent, silent } from "../base/progress.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { armFailPoints } from "../io/files/fail_points.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { Model } from "../model/model.ts";
import { type EvaluateOptions, type Evaluation, evaluate, evaluateTogether } from "./evaluate.ts";
import { withKeptScores } from "./kept_scores.ts";

const runtime = new Runtime({ threads: 1 });
const root = suiteDirectory("scores");
let model: Model;
let other: Model;
beforeAll(async () => {
  model = await openModel(await writeTinyCheckpoint(join(root(), "model"), {}));
  other = await openModel(await writeTinyCheckpoint(join(root(), "other"), { seed: 1 }));
  await writeText("one", "a b c d e f g h i j");
  await writeText("two", "j i h g f e d c b a a b c d");
  await writeFile(join(root(), "task"), '{"query": "a b", "choices": ["c", "d"], "gold": 0}\n');
});
afterAll(async () => {
  await runtime.close();
});

async function writeText(name: string, text: string): Promise<void> {
  await writeFile(join(root(), name), text);
}

function set(name: string): { readonly name: string; readonly path: string; readonly weight: number } {
  return { name, path: join(root(), name), weight: 1 };
}

/** Evaluates on both texts and the task. @returns the evaluation and the stages that were computed */
async function run(
  options: Partial<EvaluateOptions> = {},
): Promise<{ readonly evaluation: Evaluation; readonly computed: readonly string[] }> {
  const computed = new Set<string>();
  const onProgress = ({ stage }: ProgressEvent): void => void computed.add(stage);
  const settings = { seqLen: 4, tasks: [set("task")], onProgress, ...options };
  const evaluation = await evaluate({ model, runtime }, [set("one"), set("two")], settings);
  return { evaluation, computed: [...computed].filter((stage) => stage.startsWith("evaluate")) };
}

describe("evaluate with resumeDirectory", () => {
  test("computes nothing twice, and anew what depends on something else", async () => {
    const resumeDirectory = join(root(), "scores");
    const plain = await run();
    const first = await run({ resumeDirectory });
    expect(first).toEqual(plain);
    expect(first.computed).toEqual(["evaluate one", "evaluate two", "evaluate task"]);
    expect(await run({ resumeDirectory })).toEqual({ evaluation: plain.evaluation, computed: [] });
    await writeText("two", "j i h g f e d c b a a b c d e f");
    const changed = await run({ resumeDirectory });
    expect(changed.computed).toEqual(["evaluate two"]);
    expect(changed.evaluation).toEqual((await run()).evaluation);
    expect((await run({ resumeDirectory, seqLen: 5 })).computed).toEqual(["evaluate one", "evaluate two"]);
    expect(await readdir(resumeDirectory)).not.toContain("lock");
  });

  test("keeps several models apart from one", async () => {
    const resumeDirectory = join(root(), "together");
    await run({ resumeDirectory });
    const models = [model, other];
    const options = { seqLen: 4, resumeDirectory };
    const first = await evaluateTogether({ models, runtime }, [set("one")], options);
    expect(first[1]!.fromFirst!.divergence!.one!.kl).toBeGreaterThan(0);
    expect(await evaluateTogether({ models, runtime }, [set("one")], options)).toEqual(first);
    const turned = await evaluateTogether({ models: models.toReversed(), runtime }, [set("one")], options);
    expect(turned[1]!.texts).toEqual(first[0]!.texts);
    expect(turned[1]!.fromFirst!.divergence).not.toEqual(first[1]!.fromFirst!.divergence);
  });

  test("keeps the score of questions that together exceed the longest string", async () => {
    const content = Array.from({ length: 600 }, () => ({ context: "x".repeat(2 ** 20) }));
    const { device } = runtime;
    const score = withKeptScores(
      { resumeDirectory: join(root(), "long"), device, onProgress: silent },
      (keeper) => keeper({ kind: "task", models: [model], content }, async () => 1),
    );
    await expect(score).resolves.toBe(1);
  });

  test("gives the same scores after any failure of the disk", { timeout: 180_000 }, async () => {
    const { evaluation } = await run();
    let faults = 0;
    for (let n = 1; ; n += 4) {
      const resumeDirectory = join(root(), `failing-${n}`);
      const { hook, passed } = failingAt(n, KINDS["failing writes"], () => {
        throw Object.assign(new Error("EIO: injected"), { code: "EIO", errno: -5, syscall: "write" });
      });
      armFailPoints(hook);
      await run({ resumeDirectory }).catch((error: unknown) =>
        expect(error).toMatchObject({ code: "OUTPUT_FAILED" }),
      );
      armFailPoints(null);
      expect((await run({ resumeDirectory })).evaluation).toEqual(evaluation);
      if (passed() < n) break;
      faults += 1;
    }
    expect(faults).toBeGreaterThan(5);
  });

  test("stops at the signal, says how to go on, and does", async () => {
    const resumeDirectory = join(root(), "stopped");
    const stop = new AbortController();
    const seen: string[] = [];
    const onProgress = ({ stage }: ProgressEvent): void => {
      seen.push(stage);
      if (stage === "evaluate two") stop.abort("SIGINT");
    };
    await expect(run({ resumeDirectory, onProgress, signal: stop.signal })).rejects.toMatchObject({
      code: "INTERRUPTED",
      hint: `Finished texts and tasks are kept in ${resumeDirectory}; repeat the command to continue from there.`,
    });
    expect(seen.filter((stage) => stage === "evaluate two")).toHaveLength(1);
    const { evaluation, computed } = await run({ resumeDirectory });
    expect(computed).toEqual(["evaluate two", "evaluate task"]);
    expect(evaluation).toEqual((await run()).evaluation);
  });

  test("refuses models in memory, and directories with something else in them", async () => {
    const inMemory = evaluate({ model: letterModel(), runtime }, [set("one")], {
      seqLen: 4,
      resumeDirectory: join(root(), "memory"),
    });
    await expect(inMemory).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    await expect(run({ resumeDirectory: root() })).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  });
});
