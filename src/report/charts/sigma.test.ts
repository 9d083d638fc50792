import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import { unitSensitivity } from "../../gprune/sensitivity.ts";
import { summariseSensitivity } from "../../gprune/sensitivity_summary.ts";
import { spacesOf } from "../../model/spaces.ts";
import { randomStream } from "../../tensor/random.ts";
import { PAPER } from "../palette.ts";
import { pictureFile, picturePng, pictureSvg } from "../picture.ts";
import { sensitivityPicture } from "./sigma.ts";

const spaces = spacesOf(tinySpec({ layers: [{ neurons: 40 }, { neurons: 30, kvGroups: 3 }] }));
const streams = ["code", "web"].map((name) => [name, randomStream(0, name)] as const);
const sensitivities = new Map(
  spaces.map(({ id, units }) => {
    const scores = streams.map(
      ([name, random]) => [name, Float64Array.from({ length: units }, random)] as const,
    );
    return [id, unitSensitivity(new Map(scores))];
  }),
);
const { spaces: rows } = summariseSensitivity(spaces, sensitivities);
const picture = sensitivityPicture(rows, { title: "tiny <model>" });

describe("the picture of sensitivity", () => {
  test("shows every layer and rank bin with units, and every unit in the histograms", () => {
    const [maps, histograms] = picture.chart(PAPER).vconcat as {
      hconcat: { data: { values: { units?: number }[] } }[];
    }[];
    const cells = rows.flatMap(({ sigmaByRank }) => sigmaByRank.filter((sigma) => sigma !== null)).length;
    expect(maps!.hconcat.flatMap(({ data }) => data.values)).toHaveLength(cells);
    const units = histograms!.hconcat.flatMap(({ data }) => data.values).map((bar) => bar.units!);
    expect(units.reduce((sum, count) => sum + count, 0)).toBe(40 + 30 + 2 + 3);
  });

  test("is drawn as SVG with its title escaped and a description", async () => {
    const svg = await pictureSvg(picture);
    expect(svg).toMatch(/^<svg /);
    expect(svg).toContain("tiny &lt;model&gt;");
    expect(svg).toContain("FFN neurons");
    expect(picture.words).toContain("Sensitivity of 4 spaces");
  });

  test("is drawn as PNG", async () => {
    const bytes = await picturePng(picture);
    expect([...bytes.subarray(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
    expect(await pictureFile(picture, "x.svg")).toBe(await pictureSvg(picture));
  });

  test("goes into files with names that say what they are", async () => {
    await expect(pictureFile(picture, "a.jpeg")).rejects.toThrow(
      "picture: expected a name that ends with .svg or .png, got a.jpeg",
    );
  });
});
