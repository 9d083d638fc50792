import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { pictureMarkup } from "../picture.ts";
import { reportData } from "../report_data.ts";
import { roundsPicture, timingsPicture, trainingPicture } from "./course.ts";

/** The picture of a distillation with these divergences. */
function pictureOf(divergences: readonly number[]): ReturnType<typeof trainingPicture> {
  const curve = divergences.map((divergence, index) => ({
    step: index + 1,
    divergence,
    hidden: 0,
    learningRate: 1e-4,
  }));
  return trainingPicture(reportData({ ...reportFiles(), curve }));
}

test("a training whose divergence rises is not said to make it fall", () => {
  expect(pictureOf([0.01, 0.5])!.words).toBe(
    "Divergence from the dense model went from 0.010 to 0.500 nats per token in 2 steps.",
  );
});

test("steps without divergence, which have no logarithm, do not flatten the others", async () => {
  const { markup } = await pictureMarkup(pictureOf([0, 0.1, 0.4])!);
  const heights = Array.from(markup.matchAll(/d="M0,([\d.]+)L([\d.]+),([\d.]+)"/g), (match) =>
    match.slice(1),
  );
  expect(heights.some(([first, , last]) => first !== last)).toBe(true);
  expect(pictureOf([0, 0])).toBeNull();
});

test("a training of any number of steps is drawn", () => {
  expect(pictureOf(Array.from({ length: 300_000 }, (_, step) => 1 / (step + 1)))!.words).toContain(
    "in 300000 steps",
  );
});

/** Losses of `sets` sets over three rounds. */
function roundsOf(sets: number): ReturnType<typeof roundsPicture> {
  const data = reportData(reportFiles());
  const roundSets = Array.from({ length: sets }, (_, index) => `set ${index}`);
  const rounds = [0.1, 0.2, 0.3].map((sparsity) => ({
    ...data.grounds.rounds[0]!,
    sparsity,
    losses: Object.fromEntries(roundSets.map((set, index) => [set, 2 + index + sparsity])),
  }));
  return roundsPicture({ ...data, grounds: { ...data.grounds, rounds, roundSets } });
}

test.each([2, 9, 24, 40])("the lines of %i sets have their room, and the legend its own", async (sets) => {
  const { markup } = await pictureMarkup(roundsOf(sets)!);
  const lines = Array.from(markup.matchAll(/d="(M0,[\d.]+(?:L[\d.]+,[\d.]+)+)" stroke=/g), ([, d]) => d!);
  const heights = lines.flatMap((d) => Array.from(d.matchAll(/,([\d.]+)/g), ([, y]) => Number(y)));
  expect(lines).toHaveLength(sets);
  expect(Math.max(...heights) - Math.min(...heights)).toBeGreaterThan(120);
});

test("times are said to end before what is written is flushed to the disk", () => {
  expect(timingsPicture(reportData(reportFiles()))!.caption).toContain("until this report was drawn");
});
