import { describe, expect, it } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { modelSensitivity } from "../gprune/sensitivity.ts";
import { summariseSensitivity } from "../gprune/sensitivity_summary.ts";
import { spacesOf } from "../model/spaces.ts";
import { randomStream } from "../tensor/random.ts";
import { chartFile, chartPng, chartSvg, requirePictureName } from "./pictures.ts";
import { sensitivityChart } from "./sensitivity_chart.ts";

const spaces = spacesOf(tinySpec({ layers: [{ neurons: 40 }, { neurons: 30, kvGroups: 3 }] }));
const scores = new Map(
  ["code", "web"].map((name) => {
    const random = randomStream(0, name);
    return [name, new Map(spaces.map(({ id, units }) => [id, Float64Array.from({ length: units }, random)]))];
  }),
);
const { spaces: rows } = summariseSensitivity(spaces, modelSensitivity(scores));
const chart = sensitivityChart(rows, { title: "tiny <model>" });

describe("sensitivityChart", () => {
  it("shows every layer and rank bin with units, and every unit in the histograms", () => {
    const [maps, histograms] = chart.vconcat as { hconcat: { data: { values: { units?: number }[] } }[] }[];
    const cells = rows.flatMap(({ sigmaByRank }) => sigmaByRank.filter((sigma) => sigma !== null)).length;
    expect(maps!.hconcat.flatMap(({ data }) => data.values)).toHaveLength(cells);
    const units = histograms!.hconcat.flatMap(({ data }) => data.values).map((bar) => bar.units!);
    expect(units.reduce((sum, count) => sum + count, 0)).toBe(40 + 30 + 2 + 3);
  });

  it("is drawn as SVG with its title escaped and a description", async () => {
    const svg = await chartSvg(chart);
    expect(svg).toMatch(/^<svg /);
    expect(svg).toContain("tiny &lt;model&gt;");
    expect(svg).toContain("FFN neurons");
    expect(chart.description).toContain("Sensitivity of 4 spaces");
  });

  it("is drawn as PNG", async () => {
    const bytes = await chartPng(chart);
    expect([...bytes.subarray(1, 4)]).toEqual([..."PNG"].map((letter) => letter.charCodeAt(0)));
    expect(await chartFile(chart, "x.svg")).toBe(await chartSvg(chart));
  });

  it("goes into files with names that say what they are", () => {
    expect(() => requirePictureName("a.jpeg")).toThrow(
      "picture: expected a name that ends with .svg or .png, got a.jpeg",
    );
  });
});
