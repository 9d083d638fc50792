import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { relativeDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import type { DeltaSpec } from "../../model/spec.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { GraphBuilder, type Value } from "../ir/graph.ts";
import { Runtime } from "../runtime/runtime.ts";
import { CHUNK_TOKENS, type DeltaOperands, deltaRule } from "./delta_rule.ts";
import { unitLength } from "./formulas.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const OPERANDS = ["queries", "keys", "values", "decay", "strength"] as const;
type Operands = Readonly<Record<(typeof OPERANDS)[number], Tensor>>;

/** Shapes of the operands. @param tokens - a name where it is not known before the graph runs */
function shapesOf(
  { keyHeads, keyDim, valueHeads, valueDim }: DeltaSpec,
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
  delta: DeltaSpec,
  operands: Operands,
  tokens: number | string,
): Promise<Float32Array> {
  const b = new GraphBuilder();
  const shapes = shapesOf(delta, tokens);
  const inputs = Object.fromEntries(OPERANDS.map((name) => [name, b.input(name, shapes[name])])) as Record<
    (typeof OPERANDS)[number],
    Value
  >;
  const rule: DeltaOperands = {
    ...inputs,
    queries: unitLength(b, inputs.queries),
    keys: unitLength(b, inputs.keys),
    decay: b.neg(b.abs(inputs.decay)),
    strength: b.sigmoid(inputs.strength),
  };
  b.output("output", deltaRule(b, rule, { delta }).output);
  const program = await runtime.program(JSON.stringify([delta, tokens]), () => b.finish());
  return (await program.run(operands)).output!.data;
}

/** Random operands of two sequences. */
function operandsOf(delta: DeltaSpec, tokens: number): Operands {
  const entries = Object.entries(shapesOf(delta, tokens)).map(([name, shape]) => [
    name,
    randomTensor([2, ...(shape.slice(1) as number[])], { name }),
  ]);
  return Object.fromEntries(entries);
}

const DELTA: DeltaSpec = {
  ...{ type: "delta", length: 4 },
  ...{ keyHeads: 2, valueHeads: 4, keyDim: 8, valueDim: 5 },
};

describe("the delta rule in chunks gives what it gives token by token", () => {
  test.each([1, 2, CHUNK_TOKENS - 1, CHUNK_TOKENS, CHUNK_TOKENS + 1, 3 * CHUNK_TOKENS + 7])(
    "for %i tokens",
    async (tokens) => {
      const operands = operandsOf(DELTA, tokens);
      const expected = await outputOf(DELTA, operands, "T");
      expect(relativeDifference(await outputOf(DELTA, operands, tokens), [...expected])).toBeLessThan(1e-5);
    },
  );

  test("for heads of any number and size", async () => {
    const deltas = fc.record({
      keyHeads: fc.integer({ min: 1, max: 3 }),
      shared: fc.integer({ min: 1, max: 3 }),
      keyDim: fc.integer({ min: 1, max: 6 }),
      valueDim: fc.integer({ min: 1, max: 6 }),
      tokens: fc.integer({ min: 1, max: 2 * CHUNK_TOKENS }),
    });
    await fc.assert(
      fc.asyncProperty(deltas, async ({ shared, tokens, ...sizes }) => {
        const delta: DeltaSpec = { ...DELTA, ...sizes, valueHeads: shared * sizes.keyHeads };
        const operands = operandsOf(delta, tokens);
        const expected = await outputOf(delta, operands, "T");
        expect(relativeDifference(await outputOf(delta, operands, tokens), [...expected])).toBeLessThan(1e-4);
      }),
      { numRuns: 20 },
    );
  });

  test("for a token repeated, whose keys are all alike and of which nothing is forgotten", async () => {
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
});
