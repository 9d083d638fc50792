/** The whole job on models some of whose layers have something else than attention. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { openModel, type PruneResult, prune, type RunConfigInput } from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { hashes } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
} from "./tiny_model.ts";
import { MIXER_MULTIPLIERS, MULTIPLIERS } from "./tiny_variants.ts";

const root = suiteDirectory("mixers");

const BESIDE = { neurons: 64, beside: tinyMamba2({ multipliers: MIXER_MULTIPLIERS }) };

/** By what the first layer has in place of attention, or beside it. */
const MODELS: Readonly<Record<string, TinyModelOptions>> = {
  "a convolution": {
    family: "lfm2",
    qkNorm: "head",
    layers: [tinyConvolution({ length: 3, biases: false }, 64), { neurons: 64 }],
  },
  "linear attention": {
    family: "qwen3_5_text",
    normOffset: 1,
    qkNorm: "head",
    gatedAttention: "q_proj",
    layers: [tinyDelta({}, 64), { neurons: 64 }],
  },
  "Mamba 2": {
    family: "granitemoehybrid",
    residualScale: 0.5,
    layers: [tinyMamba({}, 64), { neurons: 64, rope: null }],
  },
  "Mamba 2, attention and FFNs in layers of their own": {
    family: "nemotron_h",
    gated: false,
    activation: "relu2",
    norms: "shared",
    tiedEmbeddings: false,
    layers: tinyBlocks({ neurons: 64 }),
  },
  "Mamba 2 beside attention": {
    family: "falcon_h1",
    multipliers: MULTIPLIERS,
    layers: [BESIDE, BESIDE],
  },
};

test.each(Object.entries(MODELS))(
  "a model with %s is pruned, refined, refitted and trained, with the same bytes in little memory",
  async (name, options) => {
    const model = await writeTinyCheckpoint(join(root(), name), options);
    const texts = await writeTinyTexts(join(root(), name));
    const run = (output: string, settings: RunConfigInput = {}): Promise<PruneResult> =>
      prune({
        ...{ model, output: join(root(), name, output), sparsity: 0.3, recover: "distill", steps: 2 },
        ...{ samples: 3, seqLen: 24, threads: 1, rounds: 2, gradientWindows: 2, ownText: "never" },
        calibration: Object.entries(texts).map(([set, path]) => ({ name: set, path })),
        ...settings,
      });
    const first = await run("first");
    expect(Math.abs(first.sparsity.achieved - 0.3)).toBeLessThan(0.005);
    const pruned = await openModel(first.output);
    await pruned.weights.close();
    const { layers } = pruned.spec;
    expect(layers.map(({ neurons }) => neurons)).toEqual(first.widths.ffn);
    expect(layers.map(({ mixer, kvGroups }) => kvGroups > 0 || mixer !== undefined)).not.toContain(false);
    expect(layers.map(({ beside }) => beside)).toEqual(options.layers!.map(({ beside }) => beside));
    const dense = options.layers!.map(({ neurons }) => neurons!);
    expect(first.widths.ffn.map((neurons) => neurons > 0)).toEqual(dense.map((neurons) => neurons > 0));
    for (const [layer, neurons] of first.widths.ffn.entries())
      expect(neurons).toBeLessThanOrEqual(Math.max(0, dense[layer]! - 1));
    const second = await run("second", { maxMemory: "700MB", threads: 2 });
    const files = ["config.json", "model.safetensors", "plan.json"];
    expect(await hashes(second.output, files)).toEqual(await hashes(first.output, files));
  },
);
