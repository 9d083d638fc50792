import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { factsOf } from "../facts.ts";
import { pictureMarkup } from "../picture.ts";
import { trainingPicture } from "./course.ts";

/** The picture of a training with these divergences. */
function pictureOf(divergences: readonly number[]): ReturnType<typeof trainingPicture> {
  const curve = divergences.map((divergence, index) => ({
    step: index + 1,
    divergence,
    hidden: 0,
    learningRate: 1e-4,
  }));
  return trainingPicture(factsOf({ ...reportFiles(), curve }));
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
