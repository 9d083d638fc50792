import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  applyPlan,
  decideGprune,
  decidingSet,
  exportHuggingFace,
  gatherEvidence,
  learnable,
  loadTokenSet,
  makePlan,
  measureSensitivity,
  metricByName,
  openModel,
  parsePlan,
  prune,
  Runtime,
  refitLeastSquares,
  resolveRunConfig,
  runPasses,
  Tokenizer,
  widths,
} from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { hashes } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("stages");

test("a program that does the stages one by one gets what prune makes", async () => {
  const directory = await writeTinyCheckpoint(join(root(), "model"));
  const texts = await writeTinyTexts(root());
  const calibration = Object.entries(texts).map(([name, path]) => ({ name, path, weight: 1 }));
  const sampling = { samples: 4, refitSamples: 8, seqLen: 16, seed: 3 };
  const numbers = { sparsity: 0.3, rounds: 3, gradientWindows: 2, maxModules: 3, seed: 3 };

  const model = await openModel(directory);
  const tokenizer = Tokenizer.of(model);
  const runtime = new Runtime({ threads: 2 });
  const all = await Promise.all(calibration.map((set) => loadTokenSet(set, tokenizer, sampling)));
  const passes = runPasses(model, runtime);
  const { refitSamples } = sampling;
  const fitted = all.map((set) => ({ ...learnable(set, refitSamples), weight: 1 }));
  const { evidence, moments } = await gatherEvidence({ model, passes }, all, { fitted });
  const { keep, analyses } = await decideGprune({
    model,
    runtime,
    passes,
    evidence,
    moments,
    ...numbers,
    allocation: "learned",
    sets: all.map((set) => ({ ...decidingSet(set, refitSamples), weight: 1 })),
    metric: metricByName("flap-wifv"),
    fallback: metricByName("magnitude"),
  });
  const plan = makePlan(model.spec, keep);
  const refitted = await refitLeastSquares({ dense: model, plan, runtime, moments });
  await exportHuggingFace(refitted, join(root(), "by-stages"), { dtype: "f32" });
  const sensitivity = await measureSensitivity({
    model,
    runtime,
    sets: all,
    metric: metricByName("flap-wifv"),
    seed: 3,
  });
  await runtime.close();
  await model.weights.close();

  const settings = { ...sampling, ...numbers, calibration, ownText: "never" } as const;
  const output = join(root(), "by-prune");
  await prune(resolveRunConfig({ model: directory, output, dtype: "f32", ...settings }, "test"));
  expect(keep).toEqual(parsePlan(await readFile(join(output, "plan.json"), "utf8"), "plan").keep);
  const weightsOf = (name: string): Promise<unknown> => hashes(join(root(), name), ["model.safetensors"]);
  expect(await weightsOf("by-stages")).toEqual(await weightsOf("by-prune"));
  expect(Object.keys(sensitivity.units)).toEqual(analyses.map(({ space }) => space.id));
  const { layers } = applyPlan(model, plan).spec;
  const left = {
    ffn: layers.map(({ neurons }) => neurons),
    kv: layers.map(({ kvGroups }) => kvGroups),
  };
  expect(left).toEqual(widths(plan, model.spec));
  expect(left.ffn).not.toEqual(model.spec.layers.map(({ neurons }) => neurons));
});
