import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { relativeDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import type { DeltaSpec, LinearAttentionSpec } from "../../model/mixer_spec.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { Runtime } from "../runtime/runtime.ts";
import { unitLength } from "./formulas.ts";
import { CHUNK_TOKENS, type LinearOperands, linearAttention } from "./linear_attention.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const OPERANDS = ["queries", "keys", "values", "decay", "strength"] as const;
type Operands = Readonly<Record<(typeof OPERANDS)[number], Tensor>>;

/** Shapes of the operands. @param tokens - a name where it is not known before the graph runs */
function shapesOf(
  { keyHeads, keyDim, valueHeads, valueDim }: LinearAttentionSpec,
  tokens: number | string,
): Readonly<Record<(typeof OPERANDS)[number], readonly (number | string)[]>> {
  const [ofKeys, ofHeads] = [
    ["B", tokens, keyHeads, keyDim],
    ["B", tokens, valueHeads],
  ] as const;
  return {
    queries: ofKeys,
    keys: ofKeys,
    values: [...ofHeads, valueDim],
    decay: ofHeads,
    strength: ofHeads,
  };
}

/** Output of the rule: in chunks where the number of tokens is known, else by the operator. */
async function outputOf(
  sizes: LinearAttentionSpec,
  operands: Operands,
  tokens: number | string,
): Promise<Float32Array> {
  const b = new GraphBuilder();
  const shapes = shapesOf(sizes, tokens);
  const inputs = Object.fromEntries(OPERANDS.map((name) => [name, b.input(name, shapes[name])])) as Record<
    (typeof OPERANDS)[number],
    Value
  >;
  const corrects = sizes.type === "delta";
  const operand: LinearOperands = {
    ...inputs,
    queries: unitLength(b, inputs.queries),
    // Without corrections, keys of other lengths do not make states grow without bound.
    keys: corrects ? unitLength(b, inputs.keys) : inputs.keys,
    decay: b.neg(b.abs(inputs.decay)),
    strength: corrects ? b.sigmoid(inputs.strength) : null,
  };
  b.output("output", linearAttention(b, operand, { sizes, scale: sizes.keyDim ** -0.5 }).output);
  const program = await runtime.program(JSON.stringify([sizes, tokens]), () => b.finish());
  return (await program.run(operands)).output!.data;
}

/** Random operands of two sequences. */
function operandsOf(sizes: LinearAttentionSpec, tokens: number): Operands {
  const entries = Object.entries(shapesOf(sizes, tokens)).map(([name, shape]) => [
    name,
    randomTensor([2, ...(shape.slice(1) as number[])], { name }),
  ]);
  return Object.fromEntries(entries);
}

const DELTA: DeltaSpec = {
  ...{ type: "delta", length: 4 },
  ...{ keyHeads: 2, valueHeads: 4, keyDim: 8, valueDim: 5 },
};

/** Each kind of linear attention. */
const KINDS: readonly LinearAttentionSpec[] = [
  DELTA,
  { ...DELTA, type: "mamba2", biases: false, filterBiases: false },
];

describe.each(KINDS)("linear attention in chunks gives what it gives token by token, $type", (kind) => {
  test.each([1, 2, CHUNK_TOKENS - 1, CHUNK_TOKENS, CHUNK_TOKENS + 1, 3 * CHUNK_TOKENS + 7])(
    "for %i tokens",
    async (tokens) => {
      const operands = operandsOf(kind, tokens);
      const expected = await outputOf(kind, operands, "T");
      expect(relativeDifference(await outputOf(kind, operands, tokens), [...expected])).toBeLessThan(1e-5);
    },
  );

  test("for tokens that fade a little after others that faded all", async () => {
    const tokens = 2 * CHUNK_TOKENS;
    const random = operandsOf(kind, tokens);
    const { shape, data } = random.decay;
    const [, , heads] = shape as readonly [number, number, number];
    const isAll = (index: number): boolean => Math.floor(index / heads) % 8 === 0;
    const decay = { shape, data: data.map((value, index) => (isAll(index) ? 1000 : value / 100)) };
    const expected = await outputOf(kind, { ...random, decay }, "T");
    const found = await outputOf(kind, { ...random, decay }, tokens);
    expect(relativeDifference(found, [...expected])).toBeLessThan(1e-5);
  });

  test("for heads of any number and size", async () => {
    const deltas = fc.record({
      keyHeads: fc.integer({ min: 1, max: 3 }),
      shared: fc.integer({ min: 1, max: 3 }),
      keyDim: fc.integer({ min: 1, max: 6 }),
      valueDim: fc.integer({ min: 1, max: 6 }),
      tokens: fc.integer({ min: 1, max: 2 * CHUNK_TOKENS }),
    });
    await fc.assert(
      fc.asyncProperty(deltas, async ({ shared, tokens, ...drawn }) => {
        const sizes: LinearAttentionSpec = { ...kind, ...drawn, valueHeads: shared * drawn.keyHeads };
        const operands = operandsOf(sizes, tokens);
        const expected = await outputOf(sizes, operands, "T");
        expect(relativeDifference(await outputOf(sizes, operands, tokens), [...expected])).toBeLessThan(1e-4);
      }),
      { numRuns: 20 },
    );
  });
});

test("the delta rule in chunks gives what it gives token by token for a token repeated, of which nothing fades", async () => {
  const tokens = 2 * CHUNK_TOKENS;
  const repeated = (tensor: Tensor): Tensor => {
    const size = tensor.data.length / (2 * tokens);
    return { shape: tensor.shape, data: tensor.data.map((_, i) => tensor.data[i % size]!) };
  };
  const random = operandsOf(DELTA, tokens);
  const filled = ({ shape, data }: Tensor, value: number): Tensor => ({
    shape,
    data: data.map(() => value),
  });
  const operands: Operands = {
    ...random,
    queries: repeated(random.queries),
    keys: repeated(random.keys),
    decay: filled(random.decay, 0),
    strength: filled(random.strength, 8),
  };
  const expected = await outputOf(DELTA, operands, "T");
  expect(relativeDifference(await outputOf(DELTA, operands, tokens), [...expected])).toBeLessThan(1e-4);
});
