import { afterAll, beforeAll, expect, test } from "vitest";
import { relativeDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { GraphBuilder } from "../ir/graph.ts";
import { Runtime } from "../runtime/runtime.ts";
import { type AttentionSpan, addAttention, blockSizes } from "./attention.ts";
import { blockMask, causalMask } from "./positions.ts";

const [GROUPS, GROUP_SIZE, HEAD] = [2, 3, 4];

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

test.each([
  { tokens: 257, window: null },
  { tokens: 700, window: null },
  { tokens: 700, window: 1 },
  { tokens: 700, window: 5 },
  { tokens: 700, window: 234 },
  { tokens: 700, window: 300 },
  { tokens: 700, window: 600 },
])("mixes in blocks of queries what it mixes at once: $tokens tokens, a window of $window", async (span) => {
  const [whole, blocks] = [await attention(span, false), await attention(span, true)];
  expect(blocks.shape).toEqual(whole.shape);
  expect(relativeDifference(blocks.data, whole.data)).toBeLessThan(1e-5);
});

test("needs masks that grow with the length of a sequence, not with its square", () => {
  const at = (tokens: number): number => {
    const { queries, before } = blockSizes({ tokens, window: null });
    return queries * (before + queries);
  };
  expect(at(131_072)).toBeLessThan(130 * at(1024));
});

/** @param inBlocks - whether the graph knows the span */
async function attention(
  span: AttentionSpan,
  inBlocks: boolean,
): Promise<{ shape: readonly number[]; data: Float32Array }> {
  const { tokens, window } = span;
  const mask = inBlocks ? blockMask(span) : causalMask(tokens, GROUP_SIZE, window);
  const feeds = {
    queries: randomTensor([1, GROUPS, GROUP_SIZE, tokens, HEAD], { name: "queries" }),
    keys: randomTensor([1, GROUPS, tokens, HEAD], { name: "keys" }),
    values: randomTensor([1, GROUPS, tokens, HEAD], { name: "values" }),
    mask,
  };
  const b = new GraphBuilder();
  const input = (name: keyof typeof feeds) => b.input(name, feeds[name].shape);
  const sources = {
    queries: input("queries"),
    keys: input("keys"),
    values: input("values"),
    mask: input("mask"),
  };
  const rule = { attentionScale: 1, scoreSoftcap: null, groupSize: GROUP_SIZE };
  b.output("mixed", addAttention(b, sources, inBlocks ? { ...rule, span } : rule));
  const program = await runtime.program(JSON.stringify([span, inBlocks]), () => b.finish());
  return (await program.run(feeds)).mixed!;
}
