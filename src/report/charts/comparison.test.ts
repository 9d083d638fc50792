import { expect, test } from "vitest";
import { reportFiles } from "../../../test/report_files.ts";
import { pictureMarkup } from "../picture.ts";
import { type ReportData, reportData } from "../report_data.ts";
import { comparisonPictures } from "./comparison.ts";

const several: ReportData = reportData(reportFiles());
const one: ReportData = { ...several, layers: several.layers.slice(0, 1) };

/** Number of points in every chart over the layers; legends of lines have none. */
async function pointsOf(data: readonly ReportData[]): Promise<readonly number[]> {
  const pictures = comparisonPictures(data.map((own, index) => ({ name: `run ${index}`, data: own })));
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
