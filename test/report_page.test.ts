/** The printed report in a browser. Skipped without Chromium. */
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
