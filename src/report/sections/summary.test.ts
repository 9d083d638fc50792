import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { reportData } from "../report_data.ts";
import { header, moment } from "./summary.ts";

/** The top of a report of layers that lost these fractions. */
function topOf(removed: readonly number[]): string {
  const data = reportData(reportFiles());
  const layers = removed.map((fraction, layer) => ({ ...data.layers[0]!, layer, removed: fraction }));
  return header({ ...data, layers, texts: data.texts.slice(0, 1) }).markup.replaceAll("\u00a0", " ");
}

test.each([
  [[0.57, 0.34, 0], "Layers cut deepest: 0 (57 %), 1 (34 %). Least: layer 2 (0 %)."],
  [[0.1, 0.5], "Layers cut deepest: 1 (50 %). Least: layer 0 (10 %)."],
  [[0, 0, 0.5, 0], "Layers cut deepest: 2 (50 %). Least: layer 3 (0 %)."],
  [[0.5, 0.4, 0.3, 0.2, 0.1], "Layers cut deepest: 0 (50 %), 1 (40 %), 2 (30 %). Least: layer 4 (10 %)."],
  [[0.4, 0.41], "About the same share is removed from every layer."],
  [[0, 0], "Nothing is removed from any layer."],
])("of layers that lose %j the deepest are not the least", (removed, sentence) => {
  expect(topOf(removed)).toContain(sentence);
});

test("one text has no mean, but a name", () => {
  expect(topOf([0.4, 0.4])).toContain("10.00 → 14.00, on web");
});

/**
 * The top of a report whose held-out texts have these perplexities before and after, and of a vocabulary of 100 words.
 */
function topWith(perplexities: Readonly<Record<string, readonly [number, number]>>): string {
  const { record, ...files } = reportFiles();
  const held_out = Object.entries(perplexities).map(([name, [dense, pruned]]) => {
    return { name, windows: 2, dense, pruned };
  });
  const data = reportData({ ...files, evaluation: null, record: { ...record, vocab_size: 100, held_out } });
  return header(data).markup.replaceAll("&#39;", "'");
}

test.each([
  [{ a: [10, 20] as const, b: [10, 11] as const }, "Hit hardest", "rises most on a (×2.00) and least on b"],
  [
    { a: [10, 20] as const, b: [10, 9] as const },
    "Hit hardest",
    "rises most on a (×2.00) and falls most on b",
  ],
  [{ a: [10, 9] as const, b: [10, 5] as const }, "Gained least", "falls least on a (×0.90) and most on b"],
])("of %j it says %s", (perplexities, label, sentence) => {
  expect(topWith(perplexities)).toContain(label);
  expect(topWith(perplexities)).toContain(sentence);
});

test("texts on which nothing differs have no best and no worst", () => {
  const top = topWith({ a: [10, 10], b: [20, 20], c: [7, 7] });
  expect(top).toContain("Perplexity is ×1.00 on all 3 texts.");
  expect(top).not.toMatch(/Hit hardest|Gained least|rises most/);
});

test("warns where the model was worse than guessing", () => {
  expect(topWith({ a: [99, 120], b: [101, 90], c: [200, 90] })).toContain(
    "On b, c the model's perplexity before pruning is above 100, the size of its vocabulary: worse than guessing.",
  );
  expect(topWith({ a: [99, 120] })).not.toContain("guessing");
  const many = Object.fromEntries(
    Array.from({ length: 70 }, (_, index) => [`t${index}`, [101, 90] as const]),
  );
  expect(topWith(many)).toContain("On t0, t1, t2, t3, t4, t5, t6, t7, and 62 more the model's perplexity");
});

test.each([
  ["2026-01-02T03:04:05.678Z", "2 Jan 2026, 03:04 UTC"],
  ["2026-11-12T13:14:15Z", "12 Nov 2026, 13:14 UTC"],
])("%s is %s, on one line", (iso, text) => {
  expect(moment(iso)).toBe(text.replaceAll(" ", "\u00a0"));
});
