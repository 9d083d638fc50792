import { afterAll, beforeAll, expect, test } from "vitest";
import { relativeDifference } from "../../../test/numbers.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { alibiSlopes } from "../../model/alibi.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { Runtime } from "../runtime/runtime.ts";
import { type AttentionSpan, addAttention, blockSizes } from "./attention.ts";
import { blockMask, blockPositions, causalMask, spanPositions, withDistances } from "./positions.ts";

const [GROUPS, GROUP_SIZE, HEAD] = [2, 3, 4];
const SLOPES = Float32Array.from(alibiSlopes(6));

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
  for (const others of [{}, { alibi: true }, { sinks: true }, { alibi: true, sinks: true }]) {
    const [whole, blocks] = [
      await attention(span, { alibi: false, sinks: false, ...others, inBlocks: false }),
      await attention(span, { alibi: false, sinks: false, ...others, inBlocks: true }),
    ];
    expect(blocks.shape).toEqual(whole.shape);
    expect(relativeDifference(blocks.data, whole.data)).toBeLessThan(1e-5);
  }
});

test("gives the less of the values, the higher the score of a head for nothing", async () => {
  const span = { tokens: 5, window: null };
  const [plain, sunk] = [
    await attention(span, { alibi: false, sinks: false, inBlocks: false }),
    await attention(span, { alibi: false, sinks: true, inBlocks: false }),
  ];
  const shares = Array.from(sunk.data, (value, index) => value / plain.data[index]!);
  for (let start = 0; start < shares.length; start += HEAD) {
    // All channels of a query lose the same share, to something between the scores that there are.
    for (const share of shares.slice(start, start + HEAD)) expect(share).toBeCloseTo(shares[start]!, 4);
    expect(shares[start]).toBeGreaterThan(0.05);
    expect(shares[start]).toBeLessThan(0.7);
  }
});

test("needs masks that grow with the length of a sequence, not with its square", () => {
  const at = (tokens: number): number => {
    const { queries, before } = blockSizes({ tokens, window: null });
    return queries * (before + queries);
  };
  expect(at(131_072)).toBeLessThan(130 * at(1024));
});

/** The mask of a span, or of a block of it; with ALiBi of one head, with distances. */
function maskOf(span: AttentionSpan, { inBlocks, alibi }: Pick<Options, "inBlocks" | "alibi">): Tensor {
  const { tokens, window } = span;
  if (inBlocks) return alibi ? withDistances(blockMask(span), ...blockPositions(span)) : blockMask(span);
  const positions = spanPositions({ tokens, offset: 0 });
  if (!alibi) return causalMask(tokens, GROUP_SIZE, window);
  return withDistances(causalMask(tokens, 1, window), positions, positions);
}

interface Options {
  /** Whether the graph knows the span. */
  readonly inBlocks: boolean;
  readonly alibi: boolean;
  readonly sinks: boolean;
}

async function attention(
  span: AttentionSpan,
  options: Options,
): Promise<{ shape: readonly number[]; data: Float32Array }> {
  const { tokens } = span;
  const { alibi, inBlocks, sinks } = options;
  const feeds = {
    queries: randomTensor([1, GROUPS, GROUP_SIZE, tokens, HEAD], { name: "queries" }),
    keys: randomTensor([1, GROUPS, tokens, HEAD], { name: "keys" }),
    values: randomTensor([1, GROUPS, tokens, HEAD], { name: "values" }),
    mask: maskOf(span, options),
    ...(alibi && { slopes: { shape: [GROUP_SIZE, GROUPS, 1, 1], data: SLOPES } }),
    ...(sinks && { sinks: randomTensor([GROUPS, GROUP_SIZE], { name: "sinks", centre: 2 }) }),
  };
  const b = new GraphBuilder();
  const input = (name: keyof typeof feeds) => b.input(name, feeds[name]!.shape);
  const sources = {
    queries: input("queries"),
    keys: input("keys"),
    values: input("values"),
    mask: input("mask"),
    slopes: alibi ? input("slopes") : null,
    sinks: sinks ? input("sinks") : null,
  };
  const rule = { attentionScale: 1, scoreSoftcap: null, groupSize: GROUP_SIZE };
  b.output("mixed", addAttention(b, sources, inBlocks ? { ...rule, span } : rule));
  const program = await runtime.program(JSON.stringify([span, options]), () => b.finish());
  return (await program.run(feeds)).mixed!;
}
