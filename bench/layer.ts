/**
 * What the time of one layer goes to that products with weights do not explain, on the CPU and in one run: attention between
 * its projections, in our operators and in ONNX Runtime's GroupQueryAttention; and copying the output to JavaScript.
 *
 *   node --import tsx bench/layer.ts [--threads 2]
 *
 * Shapes are SmolLM2-135M's. The fastest of six runs in turns counts.
 */
import { parseArgs } from "node:util";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { LayerStructure } from "../src/graph/decoder.ts";
import { type Dim, GraphBuilder, type Value } from "../src/graph/graph.ts";
import { encodeOnnx } from "../src/graph/onnx.ts";
import { causalMask } from "../src/graph/positions.ts";
import { LAYER_PROGRAMS } from "../src/graph/programs.ts";
import { randomStream } from "../src/tensor/random.ts";
import type { Tensor as Floats } from "../src/tensor/tensor.ts";
import { maxDifference } from "../test/numbers.ts";

const HEAD_DIM = 64;
const GROUPS = 3;
const GROUP_SIZE = 3;
const HEADS = GROUPS * GROUP_SIZE;
const HIDDEN = HEADS * HEAD_DIM;
const NEURONS = 1536;
const SCALE = HEAD_DIM ** -0.5;
const ROUNDS = 6;
/** Sequences and tokens of each. */
const SHAPES = [
  [2, 512],
  [1, 1024],
  [1, 2048],
] as const;

const { values } = parseArgs({ options: { threads: { type: "string", default: "2" } } });
const random = randomStream(0, "layer");

await compareAttention();
await compareOutputs();

async function compareAttention(): Promise<void> {
  const [own, fused] = [await open(ownAttention()), await open(fusedAttention())];
  for (const [batch, tokens] of SHAPES) {
    const inputs = {
      q: floats([batch, tokens, HIDDEN]),
      k: floats([batch, tokens, GROUPS * HEAD_DIM]),
      v: floats([batch, tokens, GROUPS * HEAD_DIM]),
    };
    const ownFeeds = { ...inputs, mask: ortTensor(causalMask({ tokens, offset: 0 }, GROUP_SIZE, null)) };
    const lengths = new Tensor("int32", new Int32Array(batch).fill(tokens - 1), [batch]);
    const fusedFeeds = { ...inputs, lengths, total: new Tensor("int32", Int32Array.of(tokens), []) };
    const [a, b] = await inTurns([() => own.run(ownFeeds), () => fused.run(fusedFeeds)]);
    const apart = maxDifference(
      a!.result["out:mixed"]!.data as Float32Array,
      b!.result["out:mixed"]!.data as Float32Array,
    );
    console.log(
      `attention of ${batch} x ${tokens}: ${text(a!)}, GroupQueryAttention ${text(b!)}, apart ${apart.toExponential(1)}`,
    );
  }
}

async function compareOutputs(): Promise<void> {
  const structure: LayerStructure = {
    ...{ hiddenSize: HIDDEN, headDim: HEAD_DIM, groupSize: GROUP_SIZE, rotaryDim: HEAD_DIM, biases: [] },
    ...{
      activation: "silu",
      normEps: 1e-5,
      normOffset: 0,
      qkNorm: false,
      postNorms: false,
      attentionScale: SCALE,
    },
  };
  const graph = LAYER_PROGRAMS.statistics(structure);
  const session = await open(encodeOnnx(graph));
  const [batch, tokens] = SHAPES[0];
  const sizes: Readonly<Record<string, number>> = {
    ...{ B: batch, T: tokens, K: GROUPS, N: HEADS, F: NEURONS, gT: GROUP_SIZE * tokens },
  };
  const sizeOf = (dim: Dim): number =>
    `${dim}`.split("*").reduce((product, factor) => product * (sizes[factor] ?? Number(factor)), 1);
  const feeds = Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, floats(shape.map(sizeOf))]));
  const fetches = {
    ...Object.fromEntries(session.outputNames.map((name) => [name, null])),
    "out:hidden": floats([batch, tokens, HIDDEN]),
  };
  const [copied, inPlace] = await inTurns([() => session.run(feeds), () => session.run(feeds, fetches)]);
  console.log(`statistics of ${batch} x ${tokens}: ${text(copied!)}, written in place ${text(inPlace!)}`);
}

interface Timed<T> {
  readonly milliseconds: number;
  readonly result: T;
}

/** The fastest run of each. */
async function inTurns<T>(works: readonly (() => Promise<T>)[]): Promise<readonly Timed<T>[]> {
  const best: Timed<T>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, work] of works.entries()) {
      const start = performance.now();
      const result = await work();
      const milliseconds = performance.now() - start;
      if (milliseconds < (best[index]?.milliseconds ?? Number.POSITIVE_INFINITY))
        best[index] = { milliseconds, result };
    }
  }
  return best;
}

/** As decoder.ts has it: queries of a group stacked, scores of all of them stored. */
function ownAttention(): Uint8Array {
  const b = new GraphBuilder();
  const [q, k, v] = projections(b);
  const stacked = b.reshape(
    b.transpose(b.reshape(q, ["B", "T", GROUPS, GROUP_SIZE, HEAD_DIM]), [0, 2, 3, 1, 4]),
    ["B", GROUPS, "gT", HEAD_DIM],
  );
  const byGroup = (x: Value): Value => b.transpose(b.reshape(x, ["B", "T", GROUPS, HEAD_DIM]), [0, 2, 1, 3]);
  const scores = b.matmul(stacked, byGroup(k), { transB: true, alpha: SCALE });
  const mixed = b.matmul(b.softmax(b.add(scores, b.input("mask", ["gT", "T"]))), byGroup(v));
  const perHead = b.reshape(mixed, ["B", GROUPS, GROUP_SIZE, "T", HEAD_DIM]);
  b.output("mixed", b.reshape(b.transpose(perHead, [0, 3, 1, 2, 4]), ["B", "T", HIDDEN]));
  return encodeOnnx(b.finish());
}

/** GroupQueryAttention of com.microsoft, causal, without a past. */
function fusedAttention(): Uint8Array {
  const b = new GraphBuilder();
  const none: Value = { name: "", type: "float32", shape: [] };
  const lengths = b.input("lengths", ["B"], "int32");
  const inputs = [...projections(b), none, none, lengths, b.input("total", [], "int32")];
  const attributes = { num_heads: HEADS, kv_num_heads: GROUPS, scale: { float: SCALE } };
  b.output("mixed", b.operator("GroupQueryAttention", inputs, { shape: ["B", "T", HIDDEN], attributes }));
  const model = fromBinary(ModelProtoSchema, encodeOnnx(b.finish()));
  const [node] = model.graph!.node;
  node!.domain = "com.microsoft";
  // It gives keys and values too, which nobody reads.
  node!.output.push("keys", "values");
  return toBinary(ModelProtoSchema, model);
}

function projections(b: GraphBuilder): readonly [Value, Value, Value] {
  const input = (name: string, heads: number): Value => b.input(name, ["B", "T", heads * HEAD_DIM]);
  return [input("q", HEADS), input("k", GROUPS), input("v", GROUPS)];
}

function open(model: Uint8Array): Promise<InferenceSession> {
  return InferenceSession.create(model, {
    enableCpuMemArena: false,
    intraOpNumThreads: Number(values.threads),
    logSeverityLevel: 3,
  });
}

function floats(shape: readonly number[]): Tensor {
  const length = shape.reduce((product, size) => product * size, 1);
  return ortTensor({ shape, data: Float32Array.from({ length }, () => 0.2 * (random() - 0.5)) });
}

function ortTensor({ shape, data }: Floats): Tensor {
  return new Tensor("float32", data, shape);
}

function text({ milliseconds }: Timed<unknown>): string {
  return `${milliseconds.toFixed(1)} ms`;
}
