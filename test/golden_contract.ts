/** Tests of a golden fixture from tokens to losses, statistics and gradients, on any device. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { gateGradients } from "../src/calibrate/gate_gradients.ts";
import { generate } from "../src/evaluate/generate.ts";
import { perplexity } from "../src/evaluate/perplexity.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { tokensOf } from "../src/graph/decoder/forward.ts";
import type { Runtime } from "../src/graph/runtime/runtime.ts";
import { spacesOf } from "../src/model/spaces.ts";
import { elementCount } from "../src/tensor/tensor.ts";
import { type GoldenModel, openGolden } from "./golden_model.ts";
import { maxDifference, relativeDifference } from "./numbers.ts";
import { lastArgmax, runModel } from "./run_model.ts";

/** Kinds of spaces with their names in golden.safetensors. */
const KINDS = [
  ["kv", "attn"],
  ["ffn", "ffn"],
] as const;

/** An open fixture and the runner of its model. */
interface Subject {
  readonly golden: GoldenModel;
  readonly runner: DecoderRunner;
}

/**
 * Registers the tests of one family inside a `describe`.
 *
 * @param runtime - called when the tests run; the caller closes the runtime
 */
export function goldenNumbers(family: string, runtime: () => Runtime): void {
  let subject: Subject;
  beforeAll(async () => {
    const golden = await openGolden(family);
    subject = { golden, runner: new DecoderRunner(golden.model, runtime()) };
  });
  afterAll(async () => {
    await subject.golden.model.weights.close();
  });
  predictions(() => subject);
  calibration(() => subject);
}

/** The spaces of a fixture's model, with the names and rows of their tensors in golden.safetensors. */
function namedSpaces({ model }: GoldenModel): readonly {
  readonly id: string;
  readonly name: string;
  readonly row: number;
}[] {
  return KINDS.flatMap(([kind, name]) => {
    const spaces = spacesOf(model.spec).filter((space) => space.kind === kind);
    return spaces.map(({ id }, row) => ({ id, name, row }));
  });
}

/** One row of a tensor of golden.safetensors along its leading axes; rows of narrower layers end with zeros. */
function expectedRow({ golden }: Subject, name: string, indices: readonly number[]): Float32Array {
  const { shape, data } = golden.expected.get(name)!;
  const size = elementCount(shape.slice(indices.length));
  const row = indices.reduce((sum, index, axis) => sum * shape[axis]! + index, 0);
  return data.subarray(row * size, (row + 1) * size);
}

function predictions(subject: () => Subject): void {
  test("gives PyTorch's hidden states and logits within 2e-4", async () => {
    const { golden, runner } = subject();
    const { hidden, logits } = await runModel(runner, golden.windows);
    for (const [layer, values] of hidden.entries()) {
      expect(maxDifference(values, expectedRow(subject(), "hidden_after_layer", [layer]))).toBeLessThan(2e-4);
    }
    expect(maxDifference(logits, golden.expected.get("logits")!.data)).toBeLessThan(2e-4);
  });

  test("gives PyTorch's losses, and the perplexity that follows from them", async () => {
    const { golden, runner } = subject();
    const losses = [...golden.expected.get("loss_per_sequence")!.data];
    const scores = await Promise.all(golden.windows.map((window) => perplexity(runner, [window])));
    const found = scores.map(({ nll }) => nll);
    expect(maxDifference(found, losses)).toBeLessThan(1e-5);
    const both = await perplexity(runner, golden.windows);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    // The first token of a window is not predicted.
    expect(both).toMatchObject({ windows: 2, tokens: tokensOf(golden.windows) - 2 });
    expect(both.nll).toBeCloseTo(mean, 5);
    expect(both.ppl / Math.exp(mean)).toBeCloseTo(1, 5);
  });

  test("generates with a cache what the whole forward pass predicts step by step", async () => {
    const { golden, runner } = subject();
    let ids = golden.windows[0]!.slice(0, 21);
    const generated = await generate(runner, ids, { maxTokens: 6, stopIds: [] });
    expect(generated).toHaveLength(6);
    for (const id of generated) {
      const { logits } = await runModel(runner, [ids]);
      expect(id).toBe(lastArgmax(logits, golden.model.spec.vocabSize));
      ids = Int32Array.of(...ids, id);
    }
  });
}

function calibration(subject: () => Subject): void {
  test("sums PyTorch's activations within 1e-3 of the layer's largest sum", async () => {
    const { golden, runner } = subject();
    const stats = (await calibrate(runner, [{ name: "golden", windows: golden.windows }])).get("golden")!;
    expect(stats).toMatchObject({ tokens: tokensOf(golden.windows), sequences: 2 });
    for (const { id, name, row } of namedSpaces(golden)) {
      const { sum, sumSquares } = stats.spaces.get(id)!;
      const [sums, squares] = ["sum", "sqsum"].map((of) =>
        expectedRow(subject(), `${name}_in_${of}`, [row]).subarray(0, sum.length),
      );
      expect(relativeDifference(sum, sums!)).toBeLessThan(1e-3);
      expect(relativeDifference(sumSquares, squares!)).toBeLessThan(1e-3);
    }
  });

  test("gives PyTorch's gate gradients of every sequence within 1e-4 of the largest", async () => {
    const { golden, runner } = subject();
    const gradients = await gateGradients(runner, golden.windows);
    for (const [b, { loss, gates }] of gradients.entries()) {
      expect(loss).toBeCloseTo(golden.expected.get("loss_per_sequence")!.data[b]!, 5);
      for (const { id, name, row } of namedSpaces(golden)) {
        const found = gates.get(id)!;
        const expected = expectedRow(subject(), `${name}_gate_grad`, [b, row]);
        expect(relativeDifference(found, expected.subarray(0, found.length))).toBeLessThan(1e-4);
      }
    }
  });
}
