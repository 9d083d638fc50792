import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { factsOf } from "../facts.ts";
import { header } from "./summary.ts";

/** The top of a report of layers that lost these fractions. */
function topOf(removed: readonly number[]): string {
  const facts = factsOf(reportFiles());
  const layers = removed.map((fraction, layer) => ({ ...facts.layers[0]!, layer, removed: fraction }));
  return header({ ...facts, layers, texts: facts.texts.slice(0, 1) }).markup.replaceAll("\u00a0", " ");
}

test.each([
  [[0.57, 0.34, 0], "Layers cut deepest: 0 (57 %), 1 (34 %). Least: layer 2 (0 %)."],
  [[0.1, 0.5], "Layers cut deepest: 1 (50 %). Least: layer 0 (10 %)."],
  [[0, 0, 0.5, 0], "Layers cut deepest: 2 (50 %). Least: layer 3 (0 %)."],
  [[0.5, 0.4, 0.3, 0.2, 0.1], "Layers cut deepest: 0 (50 %), 1 (40 %), 2 (30 %). Least: layer 4 (10 %)."],
  [[0.4, 0.41], "Every layer gives up about the same share."],
  [[0, 0], "No layer gives up anything."],
])("of layers that lose %j the deepest are not the least", (removed, sentence) => {
  expect(topOf(removed)).toContain(sentence);
});

test("one text has no mean, but a name", () => {
  expect(topOf([0.4, 0.4])).toContain("10.00 → 14.00, on web");
});
