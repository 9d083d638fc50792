/**
 * Placement of a graph's nodes on a device, from ONNX Runtime's profile, and the differences of its results from the
 * CPU's.
 */
import "../src/graph/runtime/no_telemetry.ts";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { mapValues } from "../src/base/map_values.ts";
import { momentSizes } from "../src/calibrate/moments.ts";
import { HEAD_PROGRAMS } from "../src/graph/decoder/head_programs.ts";
import type { LayerStructure } from "../src/graph/decoder/layer_structure.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "../src/graph/decoder/programs.ts";
import type { Graph, Value } from "../src/graph/ir/graph.ts";
import { encodeOnnx } from "../src/graph/ir/onnx.ts";
import type { Dim } from "../src/graph/ir/shapes.ts";
import { type Device, graphFor } from "../src/graph/runtime/device.ts";
import type { Feeds } from "../src/graph/runtime/runtime.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { randomStream } from "../src/tensor/random.ts";
import { elementCount } from "../src/tensor/tensor.ts";
import { maxAbs, maxDifference } from "./numbers.ts";
import { MIXER_MULTIPLIERS, MULTIPLIERS } from "./tiny_variants.ts";

const STRUCTURE: LayerStructure = {
  hiddenSize: 12,
  headDim: 8,
  valueDim: 8,
  groupSize: 2,
  rotaryDim: 6,
  scalesQueries: true,
  biases: ["q_proj"],
  activation: "gelu_tanh",
  normEps: 1e-5,
  normOffset: 1,
  gated: true,
  normType: "rms",
  normParameters: "weight",
  parallel: false,
  qkNorm: "head",
  norms: "around",
  attentionScale: 0.35,
  gatedAttention: false,
  projectionClip: 1,
  scoreSoftcap: 2,
  residualScale: 0.5,
};
/** FFNs without a gate, LayerNorm and parallel blocks. */
const PLAIN: LayerStructure = {
  ...STRUCTURE,
  gated: false,
  normType: "layer",
  normParameters: "weight_and_bias",
  norms: "shared",
  parallel: true,
};
/** A convolution in place of attention. */
const CONVOLVING: LayerStructure = { ...STRUCTURE, mixer: { type: "convolution", length: 3, biases: true } };
/** Linear attention, in chunks of which the last is not full, and attention with gates. */
const DELTA: LayerStructure = {
  ...STRUCTURE,
  mixer: {
    type: "delta",
    length: 3,
    keyHeads: 2,
    valueHeads: 4,
    keyDim: 8,
    valueDim: 16,
    overcorrects: true,
  },
};
/** Linear attention without corrections. */
const MAMBA: LayerStructure = {
  ...STRUCTURE,
  mixer: {
    ...{ type: "mamba2", length: 3, keyHeads: 2, valueHeads: 4, keyDim: 8, valueDim: 16 },
    ...{ biases: true, filterBiases: true },
  },
};
/** One block alone. */
const MAMBA_ALONE: LayerStructure = { ...MAMBA, lacksFfn: true };
const FFN_ALONE: LayerStructure = { ...PLAIN, parallel: false, mixer: { type: "none" } };
/** The same beside attention, with factors, gated after its norm. */
const BESIDE: LayerStructure = {
  ...STRUCTURE,
  beside: {
    ...{ type: "mamba2", length: 3, keyHeads: 2, valueHeads: 4, keyDim: 8, valueDim: 16 },
    ...{ biases: true, filterBiases: true, norm: "before_gates", multipliers: MIXER_MULTIPLIERS },
  },
  multipliers: MULTIPLIERS,
};
/** ALiBi. */
const SLOPED: LayerStructure = { ...STRUCTURE, rotaryDim: 0, scalesQueries: false, alibi: true };
const GATED_APART: LayerStructure = { ...STRUCTURE, gatedAttention: "gate_proj" };
const HEADS_GATED: LayerStructure = { ...STRUCTURE, gatedAttention: "head_gates" };
const SOFTPLUS_GATED: LayerStructure = { ...HEADS_GATED, softplusGates: true };
/** Streams, a learned residual, and cut gates (Gemma 3n). */
const STREAMING: LayerStructure = {
  ...STRUCTURE,
  ...{ normOffset: 0, residualScale: 1, gateCut: 0.8, ownInput: 5 },
  updates: { streams: 3, residualRank: 4, isFirst: true, isLast: false },
};
const JOINING: LayerStructure = {
  ...STREAMING,
  updates: { streams: 3, residualRank: 4, isFirst: false, isLast: true },
};
const GATED: LayerStructure = { ...STRUCTURE, gatedAttention: "q_proj" };
/** One neuron each, as the number of neurons is odd. */
const ROUTED: LayerStructure = { ...STRUCTURE, experts: { count: 37, active: 5, normalised: true } };
/** Corrected sigmoids, a least sum and a factor, beside a shared FFN. */
const CORRECTED: LayerStructure = {
  ...ROUTED,
  experts: {
    ...{ count: 37, active: 5, normalised: true, sigmoid: true, corrected: true, scale: 2.5 },
    ...{ divisor: { least: 0.5 }, shared: 9, sharedUngated: true },
  },
};
/** Experts picked one after the other. */
const MIXED: LayerStructure = {
  ...ROUTED,
  experts: { count: 37, active: 2, normalised: false, sparseMixer: 0.02 },
};
const CHUNKS = { tokens: 70, window: null };
const HEAD = {
  ...{ hiddenSize: 12, normType: "rms", normEps: 1e-5, normOffset: 0, normParameters: "weight" },
  ...{ logitDivisor: 2, logitSoftcap: 30 },
} as ModelSpec;
/** Sizes of the graphs' symbolic dimensions; none is a multiple of a tile. */
const SIZES: Readonly<Record<string, number>> = {
  ...{ B: 2, T: 19, gT: 38, P: 4, S: 23, K: 3, N: 6, F: 37 },
  ...{ ...momentSizes("kv", 48), ...momentSizes("ffn", 37) },
  ...{ L: 3, M: 21, V: 67, A: 1, "kv.V": 3, "ffn.V": 2, "kv.r": 7, "ffn.r": 5 },
};

/** Longer than a block of queries and than the layer's window. */
const LONG = { tokens: 259, window: 100 };

/** Layer programs that devices run: only the CPU keeps activations (graph/decoder/kept_activations.ts). */
const LAYERS = Object.entries(LAYER_PROGRAMS).filter(
  ([name]) => name !== "keeping" && !name.endsWith("Kept"),
);

/** All programs by name, and variants with attention in blocks. */
export const PROGRAMS: Readonly<Record<string, Graph>> = {
  ...Object.fromEntries(LAYERS.map(([name, make]) => [name, make(STRUCTURE)])),
  ...Object.fromEntries(
    (["forward", "backward", "train", "slopes"] as const).map((program) => {
      return [`${program} in blocks`, LAYER_PROGRAMS[program](structureFor(program, STRUCTURE, LONG))];
    }),
  ),
  ...Object.fromEntries(
    (["gelu", "relu2", "xielu"] as const).flatMap((activation) =>
      (["forward", "backward", "train"] as const).map((program) => {
        return [`${program} with ${activation}`, LAYER_PROGRAMS[program]({ ...PLAIN, activation })];
      }),
    ),
  ),
  ...Object.fromEntries(LAYERS.map(([name, make]) => [`${name} with a convolution`, make(CONVOLVING)])),
  ...Object.fromEntries(
    Object.entries({
      "a delta rule": DELTA,
      "Mamba 2": MAMBA,
      "Mamba 2 alone": MAMBA_ALONE,
      "Mamba 2 beside attention": BESIDE,
      "an FFN alone": FFN_ALONE,
    }).flatMap(([what, structure]) =>
      LAYERS.map(([name, make]) => [
        `${name} with ${what}`,
        make(structureFor(name as LayerProgram, structure, CHUNKS)),
      ]),
    ),
  ),
  ...Object.fromEntries(
    (["forward", "forest", "cached", "backward", "train"] as const).map((program) => {
      return [`${program} with ALiBi`, LAYER_PROGRAMS[program](SLOPED)];
    }),
  ),
  "forward in blocks with ALiBi": LAYER_PROGRAMS.forward(structureFor("forward", SLOPED, LONG)),
  ...Object.fromEntries(
    (["forward", "backward", "train"] as const).map((program) => {
      return [`${program} with gated attention`, LAYER_PROGRAMS[program](GATED)];
    }),
  ),
  ...Object.fromEntries(
    (["forward", "backward", "train"] as const).map((program) => {
      return [`${program} with gates of a matrix of their own`, LAYER_PROGRAMS[program](GATED_APART)];
    }),
  ),
  "forward with a gate for each head": LAYER_PROGRAMS.forward(HEADS_GATED),
  "backward with a gate for each head": LAYER_PROGRAMS.backward(HEADS_GATED),
  "forward with the softplus of gates": LAYER_PROGRAMS.forward(SOFTPLUS_GATED),
  "backward with the softplus of gates": LAYER_PROGRAMS.backward(SOFTPLUS_GATED),
  "train of the first layer with streams": LAYER_PROGRAMS.train(STREAMING),
  "backward of the last layer with streams": LAYER_PROGRAMS.backward(JOINING),
  ...Object.fromEntries(
    (["forward", "statistics", "cached", "backward", "train"] as const).map((program) => {
      return [`${program} with experts`, LAYER_PROGRAMS[program](ROUTED)];
    }),
  ),
  ...Object.fromEntries(
    (["forward", "backward", "train"] as const).map((program) => {
      return [`${program} with corrected experts`, LAYER_PROGRAMS[program](CORRECTED)];
    }),
  ),
  ...Object.fromEntries(
    (["forward", "backward", "train"] as const).map((program) => {
      return [`${program} with experts of a sparse mixer`, LAYER_PROGRAMS[program](MIXED)];
    }),
  ),
  ...Object.fromEntries(Object.entries(HEAD_PROGRAMS).map(([name, make]) => [`head ${name}`, make(HEAD)])),
  "head logits after a norm without parameters": HEAD_PROGRAMS.logits({
    ...HEAD,
    normType: "layer",
    normParameters: "none",
  }),
  "head logits with biases": HEAD_PROGRAMS.logits({
    ...HEAD,
    normType: "layer",
    normParameters: "weight_and_bias",
    headBias: true,
  }),
};

/** Placement and accuracy of a graph. */
export interface Placements {
  /** Operators that ran on the CPU; on integers as `Concat of int64`, copies between devices as `Memcpy..`. */
  readonly onCpu: readonly string[];
  readonly onDevice: readonly string[];
  /** Largest difference of an output from the CPU's, relative to the output's largest value. */
  readonly difference: number;
}

/** Runs a graph on random inputs, on the CPU and on the device. */
export async function placements(graph: Graph, device: Device): Promise<Placements> {
  const feeds = mapValues(randomTensors(graph), ({ shape, data }) =>
    data instanceof Float32Array ? new Tensor("float32", data, shape) : new Tensor("int32", data, shape),
  );
  const expected = await runOnce(encodeOnnx(graph), feeds, { executionProviders: ["cpu"] });
  const directory = await mkdtemp(join(tmpdir(), "gprune-profile-"));
  try {
    const outputs = await runOnce(encodeOnnx(graphFor(device, graph)), feeds, {
      executionProviders: [device.name],
      enableProfiling: true,
      profileFilePrefix: join(directory, "profile"),
    });
    const [file] = await readdir(directory);
    const events: readonly ProfileEvent[] = JSON.parse(await readFile(join(directory, file!), "utf8"));
    const nodes = events.filter(({ cat, args }) => cat === "Node" && args?.provider !== undefined);
    const ranOn = (cpu: boolean): string[] => {
      const ran = nodes.filter(({ args }) => args!.provider!.startsWith("CPU") === cpu);
      return [...new Set(ran.map(operatorOf))];
    };
    const differences = Object.entries(expected).map(([name, { data }]) => {
      const [actual, right] = [outputs[name]!.data as Float32Array, data as Float32Array];
      return maxDifference(actual, right) / (maxAbs(right) || 1);
    });
    return { onCpu: ranOn(true), onDevice: ranOn(false), difference: Math.max(...differences) };
  } finally {
    await rm(directory, { recursive: true });
  }
}

interface ProfileEvent {
  readonly cat: string;
  readonly args?: {
    readonly provider?: string;
    readonly op_name?: string;
    readonly input_type_shape?: readonly Readonly<Record<string, unknown>>[];
  };
}

function operatorOf({ args }: ProfileEvent): string {
  const [first = {}] = args!.input_type_shape ?? [];
  const [type = ""] = Object.keys(first);
  return type === "int64" ? `${args!.op_name!} of int64` : args!.op_name!;
}

async function runOnce(
  model: Uint8Array,
  feeds: Readonly<Record<string, Tensor>>,
  options: InferenceSession.SessionOptions,
): Promise<Readonly<Record<string, Tensor>>> {
  const session = await InferenceSession.create(model, { ...options, logSeverityLevel: 3 });
  try {
    const outputs = await session.run(feeds);
    session.endProfiling();
    return outputs;
  } finally {
    await session.release();
  }
}

/** Random inputs of a graph: values around zero for floats, small indices for integers. */
export function randomTensors({ inputs }: Graph): Feeds {
  const random = randomStream(0, "placements");
  const tensorOf = ({ type, shape }: Value): Feeds[string] => {
    const sizes = shape.map(sizeOf);
    const length = elementCount(sizes);
    if (type === "int32") return { shape: sizes, data: Int32Array.from({ length }, (_, i) => i % 9) };
    return { shape: sizes, data: Float32Array.from({ length }, () => random() - 0.5) };
  };
  return Object.fromEntries(inputs.map((input) => [input.name, tensorOf(input)]));
}

function sizeOf(dim: Dim): number {
  if (typeof dim === "number") return dim;
  return dim.split("*").reduce((product, factor) => product * (SIZES[factor] ?? Number(factor)), 1);
}
