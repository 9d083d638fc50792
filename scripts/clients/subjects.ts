/** The models that clients are tested with: Hugging Face directories in float32, pruned in two shapes. */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Shape } from "../../src/base/choices.ts";
import { calibrate } from "../../src/calibrate/calibrate.ts";
import { type RunConfigInput, resolveRunConfig } from "../../src/config.ts";
import { exportHuggingFace } from "../../src/export/hf.ts";
import { DecoderRunner } from "../../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../../src/graph/runtime/runtime.ts";
import { alibiSlopes } from "../../src/model/alibi.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { familyByName } from "../../src/model/families/families.ts";
import { hasFfn } from "../../src/model/ffn_layers.ts";
import type { LatentSpec } from "../../src/model/latent_spec.ts";
import { sharpening } from "../../src/model/latents.ts";
import { mixerLayer } from "../../src/model/mixer_layers.ts";
import type { MixerSpec } from "../../src/model/mixer_spec.ts";
import type { Model } from "../../src/model/model.ts";
import type { Projection } from "../../src/model/projections.ts";
import { mainRope } from "../../src/model/rope_layers.ts";
import type { RopeScaling, RopeSpec } from "../../src/model/rope_spec.ts";
import { type Space, spacesOf } from "../../src/model/spaces.ts";
import { type LayerSpec, type ModelSpec, withBiases } from "../../src/model/spec.ts";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { prune } from "../../src/pipeline.ts";
import { makePlan } from "../../src/prune/plan.ts";
import { applyPlan } from "../../src/prune/surgery.ts";
import { compensateMeans } from "../../src/recover/mean_compensation.ts";
import { GOLDEN_FAMILIES, openGolden, READ_AS_OTHERS } from "../../test/golden_model.ts";
import { DEMO_MODEL, demoText } from "../../test/tiny_checkpoint.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyModel, tinySpec } from "../../test/tiny_model.ts";

/** A model as users have them, or a fixture, tested in float32 only; of these, only llama.cpp needs tokenizers. */
export type SubjectKind = "model" | "fixture" | "tokenized fixture";

/** A model to test clients with, and its prompt. */
export interface Subject {
  readonly name: string;
  readonly shape: Shape;
  /** Hugging Face directory. */
  readonly directory: string;
  /** Prompt as a text; null for models without a tokenizer. */
  readonly text: string | null;
  /** The prompt that every client gets. */
  readonly ids: readonly number[];
  readonly kind: SubjectKind;
  /** Whether a format may refuse it: not every format can hold every model. */
  readonly mayBeRefused: boolean;
  /** Largest accepted difference of float32 logits, where it is not the usual one. */
  readonly tolerance?: number;
}

const FAMILIES = [...GOLDEN_FAMILIES, ...READ_AS_OTHERS];

export const SHAPES: readonly Shape[] = ["per-layer", "uniform"];

/** Tokens of the prompts. */
const PROMPT = 64;
const FIXTURE_PROMPT = 24;

/**
 * Number of units removed from the end of each space of a fixture, or each of its parts; uniform shapes stay what stock
 * classes can have.
 */
const REMOVED: Readonly<Record<Shape, (space: Space, layers: readonly LayerSpec[]) => number>> = {
  "per-layer": ({ kind, layer }) => (kind === "ffn" ? 3 + 5 * layer : layer % 2),
  uniform: ({ kind, units, parts }, layers) => {
    if (kind === "ffn") {
      // Of experts, a multiple of 8 neurons stays, which every stock class computes in the same way once it is saved.
      if (parts > 1) return 16;
      const dense = layers.filter((layer) => hasFfn(layer) && layer.experts === undefined);
      return (12 * units) / Math.min(...dense.map(({ neurons }) => neurons));
    }
    const first = layers.find(({ mixer }) => mixer === undefined)!;
    const isFixed = layers.some(
      ({ mixer, kvGroups, kvSharing }) => mixer === undefined && (kvSharing || kvGroups !== first.kvGroups),
    );
    return isFixed ? 0 : 1;
  },
};

const THREE_HEADS = { kvGroups: 3, groupSize: 1 } as const;
const BIASES: readonly Projection[] = ["o_proj", "down_proj"];
const HALF_ROTATED = { rope: { theta: 10_000, rotaryDim: 2, scaling: null } } as const;
const PHI3 = { family: "phi3", extra: { pad_token_id: 0 } } as const;

/** Models that need the stock class of another family, or have none. C is 8, which three heads do not divide. */
const TINY: Readonly<Record<string, TinyModelOptions & { readonly shape: Shape }>> = {
  "llama of three heads": { shape: "uniform", layers: [THREE_HEADS, THREE_HEADS] },
  "llama of three heads with biases": {
    shape: "uniform",
    layers: [{ ...THREE_HEADS, biases: BIASES }, THREE_HEADS],
  },
  "phi3 rotated in part": { ...PHI3, shape: "uniform", layers: [HALF_ROTATED, HALF_ROTATED] },
  "phi3 rotated in part with biases": {
    ...PHI3,
    shape: "per-layer",
    layers: [HALF_ROTATED, { ...HALF_ROTATED, ...THREE_HEADS, biases: BIASES }],
  },
};

/** The demo model pruned to a shape, with biases that compensate the removed units. */
export async function demoSubject(root: string, shape: Shape): Promise<Subject> {
  const config = { model: DEMO_MODEL, shape, recover: "bias" } as const;
  const directory = await prunedDirectory(config, join(root, `demo-${shape}`));
  return subjectOf(directory, { name: "demo", shape, mayBeRefused: false });
}

/** A given model pruned to a shape, without biases, which not every format can hold. */
export async function givenSubject(model: string, root: string, shape: Shape): Promise<Subject> {
  const name = basename(model).replace(/[.]gguf$/, "");
  const directory = await prunedDirectory({ model, shape, recover: "none" }, join(root, `${name}-${shape}`));
  return subjectOf(directory, { name, shape, mayBeRefused: true });
}

/**
 * Prunes by 35 %, to FFN widths in multiples of the block size of quantised formats. The metric uses activations, since
 * in a badly damaged model rounding alone moves logits by more than the comparison allows: in PyTorch, float32 and
 * float64 logits of SmolLM2-135M differ by 2e-3 when pruned by `magnitude` with allocation `global`, by 6e-5 with
 * `flap-wifv`.
 */
async function prunedDirectory(
  settings: Pick<RunConfigInput, "model" | "shape" | "recover">,
  output: string,
): Promise<string> {
  const how = { method: "none", metric: "flap-wifv", sparsity: 0.35, roundTo: 32, dtype: "f32" } as const;
  const calibration = ["stories", "code"].map((name) => ({ name, path: demoText("calibration", name) }));
  const run = { ...settings, ...how, calibration, samples: 4, seqLen: 128, output };
  await prune(resolveRunConfig(run, "verify:clients"));
  return output;
}

async function subjectOf(
  directory: string,
  facts: Pick<Subject, "name" | "shape" | "mayBeRefused">,
): Promise<Subject> {
  const { files, weights } = await openModel(directory);
  await weights.close();
  const tokenizer = Tokenizer.fromFiles(files);
  const text = promptText();
  const start = tokenizer.addsBos ? [tokenizer.bosId!] : [];
  const ids = [...start, ...tokenizer.encode(text)].slice(0, PROMPT);
  return { ...facts, directory, text, ids, kind: "model" };
}

/** The models of test/golden in both shapes, with and without biases, and tiny ones that need unusual classes. */
export async function fixtureSubjects(root: string): Promise<readonly Subject[]> {
  const subjects: Subject[] = [];
  for (const family of FAMILIES) {
    for (const shape of SHAPES) {
      for (const biased of [true, false]) {
        const name = biased ? `${family} with biases` : family;
        const directory = join(root, `${name}-${shape}`.replaceAll(" ", "-"));
        const spec = await writeGolden(family, directory, { shape, biased });
        subjects.push(fixtureOf(name, directory, { shape, spec }));
      }
    }
  }
  for (const [name, { shape, ...options }] of Object.entries(TINY)) {
    const directory = join(root, name.replaceAll(" ", "-"));
    const model = tinyModel(options);
    await exportHuggingFace(model, directory);
    subjects.push(fixtureOf(name, directory, { shape, spec: model.spec }));
  }
  return subjects;
}

/**
 * Of models with GELU, which llama.cpp takes from a half-precision table. In random models that moved logits by up to
 * 8e-3; with such a table of our own, the largest difference was 6e-4.
 */
const GELU_TOLERANCE = 2e-2;

/**
 * Of random models of so many layers that rounding alone moves logits by as much: those of gprune's `deepseek_v2`, of
 * which the largest is 16, differed from float64 by 4e-2, and llama.cpp's by 9e-3.
 */
const DEEP_TOLERANCE: Readonly<Record<string, number>> = { deepseek_v2: 5e-2 };

/** Smallest head size that vLLM has kernels for. */
const WIDE_HEAD = 32;

/**
 * Random models of every family of test/golden with heads of 32, in both shapes, with and without biases. Heads
 * that are alike are as wide together as the hidden state where the family's stock class wants that.
 */
export async function wideSubjects(root: string): Promise<readonly Subject[]> {
  const subjects: Subject[] = [];
  for (const family of FAMILIES) {
    const { model: golden } = await openGolden(family);
    await golden.weights.close();
    for (const shape of SHAPES) {
      for (const biased of [true, false]) {
        const name = `${family} of wide heads${biased ? " with biases" : ""}`;
        const directory = join(root, `${name}-${shape}`.replaceAll(" ", "-"));
        const fills =
          shape === "uniform" && familyByName(golden.spec.family, "subjects").computes.headsFillHidden;
        const heads = fills ? 4 : Math.ceil(golden.spec.hiddenSize / WIDE_HEAD);
        const options = wideOptions(golden.spec, { shape, biased });
        const model = tinyModel({ ...options, hiddenSize: heads * WIDE_HEAD });
        await exportHuggingFace(model, directory);
        subjects.push(fixtureOf(name, directory, { shape, spec: model.spec }));
      }
    }
  }
  return subjects;
}

/**
 * Random models for llama.cpp, with the demo's tokenizer, in both shapes: those of test/tiny_families.ts, and of all
 * other families of test/golden with SiLU. Heads of 32 are as wide together as the hidden state, as some architectures
 * want.
 */
export async function tokenizedSubjects(root: string): Promise<readonly Subject[]> {
  const demo = await openModel(DEMO_MODEL);
  await demo.weights.close();
  const tiny = Object.entries(TINY_FAMILIES)
    .filter(([name]) => name !== SENSITIVE)
    .map(([name, options]) => ({ name, spec: tinySpec(options) }));
  const golden: typeof tiny = [];
  for (const name of FAMILIES.filter((family) => !Object.hasOwn(TINY_FAMILIES, family))) {
    const { model } = await openGolden(name);
    await model.weights.close();
    if (model.spec.activation === "silu") golden.push({ name, spec: model.spec });
  }
  const subjects: Subject[] = [];
  for (const { name, spec } of [...golden, ...tiny]) {
    for (const shape of SHAPES) {
      const directory = join(root, `${name} with a tokenizer-${shape}`.replaceAll(" ", "-"));
      const sizes = { hiddenSize: 4 * WIDE_HEAD, vocabSize: demo.spec.vocabSize };
      const model = tinyModel(wideOptions(resized(spec, sizes), { shape, biased: false }));
      await exportHuggingFace({ ...model, files: demo.files }, directory);
      const subject = fixtureOf(name, directory, { shape, spec: model.spec });
      const tolerance = spec.activation.startsWith("gelu") ? GELU_TOLERANCE : DEEP_TOLERANCE[name];
      subjects.push({
        ...subject,
        ...(tolerance && { tolerance }),
        kind: "tokenized fixture",
        mayBeRefused: true,
      });
    }
  }
  return subjects;
}

/**
 * llama.cpp divides the variance of its gates by their number less one: little for thousands of them, but not for tens
 * (docs/FORMATS.md has what larger random models gave).
 */
const SENSITIVE = "gemma3n";

/** A spec with another hidden size and vocabulary, and with what goes with them. */
function resized(
  { embeddingScale, perLayerInputs, ...spec }: ModelSpec,
  sizes: Pick<ModelSpec, "hiddenSize" | "vocabSize">,
): ModelSpec {
  const isScaled = familyByName(spec.family, "subjects").computes.scaledEmbeddings;
  return {
    ...{ ...spec, ...sizes },
    embeddingScale: isScaled ? Math.sqrt(sizes.hiddenSize) : embeddingScale,
    perLayerInputs: perLayerInputs && { ...perLayerInputs, vocabSize: sizes.vocabSize },
  };
}

/** Options of a model like another, with other layer sizes. */
function wideOptions(
  { layers, headDim, attentionScale, ...spec }: ModelSpec,
  { shape, biased }: { readonly shape: Shape; readonly biased: boolean },
): TinyModelOptions {
  const { kvHeads } = familyByName(spec.family, "subjects").computes;
  const widths = (index: number, { kvSharing, slopes }: LayerSpec): Partial<LayerSpec> => {
    if (kvHeads === "one") return { kvGroups: 1, groupSize: 4 };
    const isUniform = shape === "uniform" || kvSharing !== undefined;
    const heads = isUniform ? 4 : 2 + 2 * (index % 2);
    if (slopes !== undefined) return { kvGroups: heads, groupSize: 1, slopes: alibiSlopes(heads) };
    const groupSize = kvHeads === "any" ? 2 : 1;
    return { kvGroups: heads / groupSize, groupSize };
  };
  const factor = WIDE_HEAD / headDim;
  const { latent } = spec;
  const wide = latent ? 2 * WIDE_HEAD : WIDE_HEAD;
  return {
    ...spec,
    headDim: wide,
    ...(latent && { latent: wideLatent(latent) }),
    attentionScale: latent
      ? wide ** -0.5 * sharpening(mainRope({ layers })?.scaling)
      : attentionScale === headDim ** -0.5
        ? WIDE_HEAD ** -0.5
        : attentionScale,
    layers: layers.map((layer, index) => {
      // vLLM's kernels for experts of gpt-oss on a CPU want multiples of 32.
      const usual = layer.experts === undefined ? 40 : 64;
      const each = shape === "uniform" ? usual : 40 + 8 * index;
      const neurons = hasFfn(layer) ? each * (layer.experts?.count ?? 1) : 0;
      const { biases } = biased ? withBiases(layer, BIASES) : layer;
      if (layer.mixer !== undefined)
        return mixerLayer(wideMixer(layer.mixer, spec), { ...layer, neurons, biases });
      const { headDim: own } = layer;
      return {
        ...{
          ...layer,
          neurons,
          biases,
          rope:
            layer.rope && wideRope(layer.rope, latent ? wideLatent(latent).rotated / latent.rotated : factor),
        },
        ...widths(index, layer),
        ...(own !== undefined && { headDim: factor * own }),
      };
    }),
  };
}

/** Latents of heads twice as wide, of which half turns. */
function wideLatent(latent: LatentSpec): LatentSpec {
  return {
    ...{ ...latent, rank: WIDE_HEAD, rotated: WIDE_HEAD, valueDim: WIDE_HEAD },
    queryRank: latent.queryRank && WIDE_HEAD,
  };
}

/** The rotation of heads that are wider by a factor. */
function wideRope({ scaling, ...rope }: RopeSpec, factor: number): RopeSpec {
  return { ...rope, rotaryDim: factor * rope.rotaryDim, scaling: wideScaling(scaling, factor) };
}

function wideScaling(scaling: RopeScaling | null, factor: number): RopeScaling | null {
  if (scaling?.type === "proportional") return { ...scaling, pairs: factor * scaling.pairs };
  if (scaling?.type !== "longrope") return scaling;
  const wide = (factors: readonly number[]): readonly number[] =>
    factors.flatMap((each) => Array.from({ length: factor }, () => each));
  return { ...scaling, shortFactors: wide(scaling.shortFactors), longFactors: wide(scaling.longFactors) };
}

/** Mamba 2 has heads of twice the hidden size together, as llama.cpp wants. */
function wideMixer(mixer: MixerSpec, { hiddenSize }: Pick<ModelSpec, "hiddenSize">): MixerSpec {
  if (mixer.type !== "mamba2") return mixer;
  return { ...mixer, valueDim: (2 * hiddenSize) / mixer.valueHeads };
}

function fixtureOf(
  name: string,
  directory: string,
  { shape, spec }: { readonly shape: Shape; readonly spec: ModelSpec },
): Subject {
  const size = spec.vocabSize - 3;
  const ids = Array.from({ length: FIXTURE_PROMPT }, (_, i) => 3 + ((7 * i * i + 11 * i) % size));
  return { name, shape, directory, text: null, ids, kind: "fixture", mayBeRefused: false };
}

async function writeGolden(family: string, directory: string, how: Pruning): Promise<ModelSpec> {
  const { model, windows } = await openGolden(family);
  try {
    return await writePruned(model, windows, { ...how, directory });
  } finally {
    await model.weights.close();
  }
}

/** A fixture pruned from a model without a tokenizer, in the directory `output`. */
export async function prunedSubject(model: string, output: string, how: Pruning): Promise<Subject> {
  const opened = await openModel(model);
  try {
    const { ids } = fixtureOf("", "", { ...how, spec: opened.spec });
    const window = Int32Array.from(ids).slice(0, opened.spec.maxPositions);
    const spec = await writePruned(opened, [window], { ...how, directory: output });
    return { ...fixtureOf(basename(model), output, { ...how, spec }), ids: [...window] };
  } finally {
    await opened.weights.close();
  }
}

/** How a fixture is pruned: to which shape, and whether biases make up for what is removed. */
interface Pruning {
  readonly shape: Shape;
  readonly biased: boolean;
}

async function writePruned(
  model: Model,
  windows: readonly Int32Array[],
  { shape, biased, directory }: Pruning & { readonly directory: string },
): Promise<ModelSpec> {
  const runtime = new Runtime();
  const keep = spacesOf(model.spec).map((space) => {
    const size = space.units / space.parts;
    const kept = Math.max(1, size - REMOVED[shape](space, model.spec.layers));
    const units = Array.from({ length: space.units }, (_, unit) => unit);
    return [space.id, units.filter((unit) => unit % size < kept)] as const;
  });
  const plan = makePlan(model.spec, Object.fromEntries(keep));
  const runner = new DecoderRunner(model, runtime);
  const stats = (await calibrate(runner, [{ name: "golden", windows }])).get("golden")!;
  const pruned = biased ? await compensateMeans(model, plan, stats) : applyPlan(model, plan);
  await exportHuggingFace(pruned, directory);
  await runtime.close();
  return pruned.spec;
}

/** Starts of texts of three kinds, with words, digits, code and non-ASCII letters. */
function promptText(): string {
  const beginning = (kind: string): string => readFileSync(demoText("heldout", kind), "utf8").slice(0, 150);
  return ["stories", "code", "tongue"].map(beginning).join("\n");
}
