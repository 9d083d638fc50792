import { expect, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import { picturesOf } from "./gallery.ts";
import { picturePng, pictureSvg } from "./picture.ts";
import { reportData } from "./report_data.ts";

const pictures = picturesOf(reportData(reportFiles({ names: ["a<b", "__proto__"] })));

test("is a file that says what it shows and needs no style sheet", async () => {
  const picture = pictures.find(({ id }) => id === "texts")!;
  const svg = await pictureSvg(picture);
  expect(svg).toMatch(
    /^<svg [^>]*><title>Perplexity on evaluation texts<\/title><desc>Perplexity from dense/,
  );
  expect(svg).toContain("a&lt;b");
  expect(svg).not.toContain("var(--");
  const png = await picturePng(picture);
  expect(Buffer.from(png.subarray(1, 4)).toString()).toBe("PNG");
});

test("has words and a caption, each picture its own", () => {
  for (const { words, caption, title } of pictures) {
    expect(words).toMatch(/\.$/);
    expect(words).not.toMatch(/NaN|undefined|Infinity/);
    expect(caption).toMatch(/\.$/);
    expect(title).not.toBe("");
  }
  expect(new Set(pictures.map(({ id }) => id)).size).toBe(pictures.length);
});

test.each(["reliability", "rounds"])("has room for the title and the legend of %s", async (id) => {
  const svg = await pictureSvg(pictures.find((one) => one.id === id)!);
  const [, top] = /<g fill="none" stroke-miterlimit="\d+" transform="translate\(\d+,(\d+)\)"/.exec(svg)!;
  // Title and legend stand above the plot, whose origin the drawing is moved to.
  const above = Array.from(
    svg.matchAll(
      /class="mark-group role-(?:title|legend)[^"]*"[^>]*><g transform="translate\([-\d.]+,(-[\d.]+)\)"/g,
    ),
    ([, y]) => Number(y),
  );
  expect(above.length).toBeGreaterThanOrEqual(1);
  expect(Math.min(...above)).toBeGreaterThanOrEqual(-Number(top));
});
