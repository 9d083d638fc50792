/** Tests that labels in charts do not overlap. */
import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { pictureMarkup } from "../picture.ts";
import { type ReportData, reportData } from "../report_data.ts";
import { perplexityPicture, tasksPicture } from "./quality.ts";
import { setsPicture } from "./sensitivity.ts";

/** Horizontal positions of the matching elements, in drawing order. */
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

/** A report's data with `count` sets whose pairwise agreement is 0.78. */
function withSets(count: number, nameOf = (index: number): string => `set ${index}`): ReportData {
  const data = reportData(reportFiles());
  const setOrder = Array.from({ length: count }, (_, index) => nameOf(index));
  const ffn = setOrder.map(() => setOrder.map(() => 0.78));
  return {
    ...data,
    grounds: { ...data.grounds, setOrder, agreement: { ...data.grounds.agreement, ffn } },
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

test("many sets have a legend instead of numbers, and names that stand upright without their middles", async () => {
  const upright = /rotate\(270\)[^>]*>set/;
  const few = (await pictureMarkup(setsPicture(withSets(5))!)).markup;
  expect(few).not.toMatch(upright);
  expect(few).not.toContain(">0.43<");
  const many = (await pictureMarkup(setsPicture(withSets(30, (i) => `set of a kind ${i}`))!)).markup;
  expect(many).toMatch(upright);
  expect(many).toContain(">0.43<");
  expect(many).toContain(">set of…ind 29<");
});

/** Tick labels of the horizontal axis of numbers, from left to right. */
function ticksOf(markup: string): readonly string[] {
  return Array.from(
    markup.matchAll(
      /<text text-anchor="[a-z]+" transform="translate\([\d.]+,17\)"[^>]*>([\d.,e+-]+)<\/text>/g,
    ),
    ([, text]) => text!,
  );
}

test.each([
  [10, 10, ["9", "10", "11", "12", "13"]],
  [2973, 150_640, ["3,000", "10,000", "30,000", "100,000"]],
  [1e5, 1.2e5, ["100,000", "120,000", "140,000", "160,000"]],
])("perplexities of %d and %d stand above round numbers", async (dense, pruned, ticks) => {
  const row = { name: "a", dense, pruned, ratio: pruned / dense };
  const { markup } = await pictureMarkup(
    perplexityPicture([row], { id: "held-out", title: "Perplexity", caption: "" }),
  );
  expect(ticksOf(markup)).toEqual(ticks);
});

test("accuracies that are all 0 have an axis", async () => {
  const nothing = { acc: 0, acc_norm: 0, stderr: 0, acc_norm_stderr: 0 };
  const files = reportFiles();
  const tasks = [{ ...nothing, name: "a", n: 9, baseline: nothing }];
  const data = reportData({ ...files, evaluation: { ...files.evaluation!, tasks } });
  const { markup } = await pictureMarkup(tasksPicture(data)!);
  expect(ticksOf(markup)).toEqual(["0", "0.02", "0.04", "0.06", "0.08"]);
});
