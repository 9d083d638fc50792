/** Numbers in charts stand where they can be read. */
import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { type Facts, factsOf } from "../facts.ts";
import { pictureMarkup } from "../picture.ts";
import { perplexityPicture } from "./quality.ts";
import { setsPicture } from "./sensitivity.ts";

/** Horizontal places of what matches, in the order of the drawing. */
function placesOf(markup: string, pattern: RegExp): readonly number[] {
  return Array.from(markup.matchAll(pattern), ([, x]) => Number(x));
}

test("the ratio of a text that became easier stands to the right of both dots", async () => {
  const row = { name: "a", dense: 30, pruned: 20, ratio: 2 / 3 };
  const options = { id: "held-out", title: "Perplexity", caption: "" };
  const { markup } = await pictureMarkup(perplexityPicture([row], options));
  const dots = placesOf(markup, /<path transform="translate\(([\d.]+),13\.5\)"/g);
  const [label] = placesOf(markup, /transform="translate\(([\d.]+),[\d.]+\)"[^>]*>×0\.67</g);
  expect(dots).toHaveLength(2);
  expect(label).toBeGreaterThan(Math.max(...dots));
});

/** A report's facts with so many sets, every two of which agree by 0.78. */
function withSets(count: number): Facts {
  const facts = factsOf(reportFiles());
  const setOrder = Array.from({ length: count }, (_, i) => `set ${i}`);
  const ffn = setOrder.map(() => setOrder.map(() => 0.78));
  return {
    ...facts,
    grounds: { ...facts.grounds, setOrder, agreement: { ...facts.grounds.agreement, ffn } },
  };
}

test.each([
  [9, ">0.78<"],
  [12, ">.78<"],
  [30, undefined],
])("%i sets leave numbers of agreement as much room as they need", async (count, label) => {
  const { markup } = await pictureMarkup(setsPicture(withSets(count))!);
  const shown = markup.match(/>-?\d?\.78</g) ?? [];
  expect(new Set(shown)).toEqual(new Set(label === undefined ? [] : [label]));
});
