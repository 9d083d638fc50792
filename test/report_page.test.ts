/** The printed report, and the report on a phone, in a browser. Skipped without Chromium. */
import { chromium } from "playwright-core";
import { expect, onTestFinished, test } from "vitest";
import { renderReport } from "../src/report/report.ts";
import { CHROMIUM } from "./browser.ts";
import { reportFiles } from "./report_files.ts";

/** Printable width of A4, 19 cm, in CSS pixels. */
const PAPER = 718;

test.skipIf(CHROMIUM === undefined)(
  "a printed report has its tables whole",
  { timeout: 120_000 },
  async () => {
    const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
    onTestFinished(() => browser.close());
    const page = await browser.newPage({ viewport: { width: PAPER, height: 1000 } });
    await page.emulateMedia({ media: "print" });
    await page.setContent(await renderReport(reportFiles()));
    const cut = await page.evaluate<readonly string[]>(
      `[...document.querySelectorAll("table")]
      .filter((table) => [...table.querySelectorAll("td")].some((cell) => cell.getBoundingClientRect().right > table.closest(".table").getBoundingClientRect().right))
      .map((table) => table.ariaLabel)`,
    );
    expect(cut).toEqual([]);
  },
);

test.skipIf(CHROMIUM === undefined)("on a phone rows of tables stay low", { timeout: 120_000 }, async () => {
  const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  onTestFinished(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 360, height: 780 } });
  await page.setContent(await renderReport(reportFiles()));
  const lines = `(cell) => { const range = document.createRange(); range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size; }`;
  const broken = await page.evaluate<readonly string[]>(
    `[...document.querySelectorAll("tbody th")].filter((cell) => /^layers\\.\\d+\\./.test(cell.textContent) && (${lines})(cell) > 1)
      .map((cell) => cell.textContent)`,
  );
  const tall = await page.evaluate<readonly string[]>(
    `[...document.querySelectorAll("td:not(.number):last-child")].filter((cell) => (${lines})(cell) > 4)
      .map((cell) => cell.textContent)`,
  );
  expect({ broken, tall }).toEqual({ broken: [], tall: [] });
});
