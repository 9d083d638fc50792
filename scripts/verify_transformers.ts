/**
 * Compares what gprune computes with what Hugging Face transformers computes from the directories that gprune writes:
 * logits and 20 greedy tokens with a cache. The models are the golden ones, pruned to widths of their own in every layer
 * and to the same widths in all, with and without biases; tiny ones that take another class; and what directories are given.
 *
 * Usage: node --import tsx scripts/verify_transformers.ts PYTHON [DIR...]
 *
 * PYTHON has torch, transformers and safetensors installed. Exits 1 when anything differs.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { generate } from "../src/evaluate/generate.ts";
import { exportHuggingFace } from "../src/export/hf.ts";
import { DecoderRunner } from "../src/graph/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime.ts";
import { openModel } from "../src/model/checkpoint.ts";
import { hfForm } from "../src/model/hf_form.ts";
import type { Model } from "../src/model/model.ts";
import { spacesOf } from "../src/model/spaces.ts";
import { makePlan } from "../src/prune/plan.ts";
import { applyPlan } from "../src/prune/surgery.ts";
import { compensateMeans } from "../src/recover/mean_compensation.ts";
import { GOLDEN_FAMILIES, openGolden } from "../test/golden_model.ts";
import { runModel } from "../test/run_model.ts";
import { type TinyModelOptions, tinyModel } from "../test/tiny_model.ts";

const TOKENS = 20;
const PROMPT = 24;

/** Units that go from the end of a space, by kind and layer. */
const SHAPES: Readonly<Record<string, (kind: "ffn" | "kv", layer: number) => number>> = {
  "per-layer": (kind, layer) => (kind === "ffn" ? 3 + 5 * layer : layer % 2),
  uniform: (kind) => (kind === "ffn" ? 12 : 1),
};

const THREE_HEADS = { kvGroups: 3, groupSize: 1 } as const;
const BIASES = ["o_proj", "down_proj"] as const;
const HALF_ROTATED = { rope: { theta: 10_000, rotaryDim: 2, scaling: null } } as const;

/** Models whose stock class is another family's, or none. C is 8, so three heads do not divide it. */
const TINY: Readonly<Record<string, TinyModelOptions>> = {
  "llama of three heads": { layers: [THREE_HEADS, THREE_HEADS] },
  "llama of three heads with biases": { layers: [{ ...THREE_HEADS, biases: BIASES }, THREE_HEADS] },
  "phi3 rotated in part": {
    family: "phi3",
    extra: { pad_token_id: 0 },
    layers: [HALF_ROTATED, HALF_ROTATED],
  },
  "phi3 rotated in part per-layer": {
    family: "phi3",
    extra: { pad_token_id: 0 },
    layers: [HALF_ROTATED, { ...HALF_ROTATED, ...THREE_HEADS, biases: BIASES }],
  },
};

/** What Python checks: a directory, and what gprune computed from it. */
interface Case {
  readonly name: string;
  readonly path: string;
  readonly remoteCode: boolean;
  readonly ids: readonly number[];
  readonly generated: readonly number[];
  /** File of float32 logits, [T, V]. */
  readonly logits: string;
}

/** A golden model pruned to a shape and written to `directory`. */
async function writePruned(
  family: string,
  directory: string,
  { shape, biased }: { readonly shape: string; readonly biased: boolean },
): Promise<void> {
  const { model, windows } = await openGolden(family);
  const runtime = new Runtime();
  const keep = spacesOf(model.spec).map(({ id, kind, layer, units }) => {
    const kept = units - SHAPES[shape]!(kind, layer);
    return [id, Array.from({ length: kept }, (_, unit) => unit)] as const;
  });
  const plan = makePlan(model.spec, Object.fromEntries(keep));
  const stats = (await calibrate(new DecoderRunner(model, runtime), [{ name: "golden", windows }])).get(
    "golden",
  )!;
  const pruned = biased ? await compensateMeans(model, plan, stats) : applyPlan(model, plan);
  await exportHuggingFace(pruned, directory);
  await runtime.close();
  await model.weights.close();
}

/** Logits and greedy tokens of a directory on the first tokens of its vocabulary. */
async function caseOf(name: string, path: string, logits: string): Promise<Case> {
  const model: Model = await openModel(path);
  const runtime = new Runtime();
  const runner = new DecoderRunner(model, runtime);
  const ids = Int32Array.from(
    { length: PROMPT },
    (_, i) => 3 + ((7 * i * i + 11 * i) % (model.spec.vocabSize - 3)),
  );
  const computed = await runModel(runner, [ids]);
  await writeFile(logits, new Uint8Array(Float32Array.from(computed.logits).buffer));
  const generated = await generate(runner, ids, { maxTokens: TOKENS, stopIds: [] });
  await runtime.close();
  await model.weights.close();
  const { remoteCode } = hfForm(model.spec);
  return { name, path, remoteCode, ids: [...ids], generated: [...generated], logits };
}

async function main([python, ...directories]: readonly string[]): Promise<number> {
  if (python === undefined) throw new Error("expected the path of a Python with transformers");
  const root = await mkdtemp(join(tmpdir(), "gprune-verify-"));
  const cases: Case[] = [];
  for (const family of GOLDEN_FAMILIES) {
    for (const shape of Object.keys(SHAPES)) {
      for (const biased of [true, false]) {
        const name = `${family} ${shape} ${biased ? "with" : "without"} biases`;
        const path = join(root, name.replaceAll(" ", "-"));
        await writePruned(family, path, { shape, biased });
        cases.push(await caseOf(name, path, `${path}.logits`));
      }
    }
  }
  for (const [name, options] of Object.entries(TINY)) {
    const path = join(root, name.replaceAll(" ", "-"));
    await exportHuggingFace(tinyModel(options), path);
    cases.push(await caseOf(name, path, `${path}.logits`));
  }
  for (const [index, path] of directories.entries()) {
    cases.push(await caseOf(path, path, join(root, `${index}.logits`)));
  }
  const manifest = join(root, "cases.json");
  await writeFile(manifest, JSON.stringify(cases));
  const script = join(import.meta.dirname, "verify_transformers.py");
  const { status } = spawnSync(python, [script, manifest], { stdio: ["ignore", "inherit", "inherit"] });
  await rm(root, { recursive: true });
  return status ?? 1;
}

process.exitCode = await main(process.argv.slice(2));
