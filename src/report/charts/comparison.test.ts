import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { type Facts, factsOf } from "../facts.ts";
import { pictureMarkup } from "../picture.ts";
import { comparisonPictures } from "./comparison.ts";

const several: Facts = factsOf(reportFiles());
const one: Facts = { ...several, layers: several.layers.slice(0, 1) };

/** Number of points in every chart over the layers; legends of lines have none. */
async function pointsOf(facts: readonly Facts[]): Promise<readonly number[]> {
  const pictures = comparisonPictures(facts.map((own, index) => ({ name: `run ${index}`, facts: own })));
  const drawn = await Promise.all(
    pictures.filter(({ id }) => /sparsity|ffn/.test(id)).map(async (picture) => pictureMarkup(picture)),
  );
  return drawn.map(({ markup }) => (markup.match(/ d="M[\d.]+,0A/g) ?? []).length);
}

test("a model of one layer, which makes no line, has points", async () => {
  expect(await pointsOf([one, one])).toEqual([2, 2]);
  const points = 1 + several.layers.length;
  expect(await pointsOf([one, several])).toEqual([points, points]);
  expect(await pointsOf([several, several])).toEqual([0, 0]);
});
