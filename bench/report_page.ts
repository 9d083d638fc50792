/**
 * Size of a report, the time it takes to open in Chromium, and the accessibility violations that axe finds in it.
 *
 *   node --import tsx bench/report_page.ts REPORT.html [--rounds 7] [--pictures DIR] [--out PATH]
 *
 * Every round opens the file in a new browser, and measures the time from the start of navigation to the first
 * contentful paint, before which the whole page is laid out, and to the end of the load event; the page is open at the
 * later of the two. axe-core runs, and the width of the page is checked, in the light and the dark theme, in windows of
 * the sizes of a phone, a tablet and a desktop; DIR gets a picture of each. Exits with 1 when the file has 2 MB or
 * more, takes a second or more to open (median), makes requests, is wider than the window or has a violation. The
 * figures go to PATH.md and PATH.json; the README cites bench/results/report_page. Needs Chromium (`apt-get install
 * chromium`).
 */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { machine, markdownTable, rangeCell } from "../scripts/clients/table.ts";
import { spread } from "../src/tensor/statistics.ts";
import { CHROMIUM, fits, THEMES, violations } from "../test/browser.ts";

/** Widths and height of the windows in pixels. */
const WIDTHS = [390, 820, 1280] as const;
const HEIGHT = 900;
const MAX_BYTES = 2e6;
const MAX_MILLISECONDS = 1000;
/** Milliseconds after which a page counts as blank. */
const PATIENCE = 60_000;

/** Milliseconds since navigation began. */
interface Opening {
  readonly firstContents: number;
  readonly loaded: number;
}

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "7" },
    pictures: { type: "string" },
    out: { type: "string" },
  },
});
const path = positionals[0];
if (path === undefined || CHROMIUM === undefined) {
  throw new Error("usage: bench/report_page.ts REPORT.html, with Chromium; --help says more");
}
const address = pathToFileURL(resolve(path)).href;
const load = loadavg()[0]!;

const openings: Opening[] = [];
for (let round = 0; round < positiveInteger("rounds", values.rounds); round++) {
  openings.push(await withBrowser(async (browser) => opening(await browser.newPage())));
}
const problems = await withBrowser(look);
write();

async function withBrowser<T>(work: (browser: Browser) => Promise<T>): Promise<T> {
  const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  try {
    return await work(browser);
  } finally {
    await browser.close();
  }
}

async function opening(page: Page): Promise<Opening> {
  await page.goto(address);
  return page.evaluate<Opening>(
    `new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error("expected a painted page within ${PATIENCE} ms, got none")), ${PATIENCE});
      new PerformanceObserver((paints) => {
        const [first] = paints.getEntriesByName("first-contentful-paint");
        const [navigation] = performance.getEntriesByType("navigation");
        if (first) resolve({ firstContents: first.startTime, loaded: navigation.loadEventEnd });
      }).observe({ type: "paint", buffered: true });
    })`,
  );
}

/** Problems of the page in every theme and width. */
async function look(browser: Browser): Promise<readonly string[]> {
  const found: string[] = [];
  const page = await browser.newPage();
  page.on("request", (request) => {
    if (request.url() !== address) found.push(`asks for ${request.url()}`);
  });
  page.on("pageerror", (error) => found.push(error.message));
  page.on("console", (message) => found.push(message.text()));
  await page.goto(address);
  for (const colorScheme of THEMES) {
    for (const width of WIDTHS) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: HEIGHT });
      const where = `${colorScheme}, ${width} pixels`;
      if (!(await fits(page))) found.push(`${where}: sticks out`);
      for (const violation of await violations(page)) found.push(`${where}: ${violation}`);
      if (values.pictures !== undefined) {
        await page.screenshot({ path: join(values.pictures, `${colorScheme}-${width}.png`), fullPage: true });
      }
    }
  }
  return found;
}

function write(): void {
  const { size } = statSync(path!);
  const columns = [
    openings.map(({ firstContents }) => firstContents),
    openings.map(({ loaded }) => loaded),
    openings.map(({ firstContents, loaded }) => Math.max(firstContents, loaded)),
  ].map(spread);
  const holds = size < MAX_BYTES && columns.at(-1)!.median < MAX_MILLISECONDS && problems.length === 0;
  const cells = columns.map((column) => rangeCell(column, 0));
  const table = markdownTable(
    ["kB", "first contents, ms", "loaded, ms", "open, ms", "axe, both themes, three widths"],
    [[(size / 1000).toFixed(0), ...cells, problems.length === 0 ? "nothing found" : problems.join("; ")]],
  );
  const text =
    `${machine()}, load ${load.toFixed(2)} at the start; Chromium, a new one in each of ${openings.length} rounds. ` +
    `Median (range).\n\n${table}\n`;
  console.log(text);
  if (values.out !== undefined) {
    const figures = { machine: machine(), load, bytes: size, openings, problems, holds };
    mkdirSync(dirname(values.out), { recursive: true });
    writeFileSync(`${values.out}.md`, text);
    writeFileSync(`${values.out}.json`, `${JSON.stringify(figures, null, 1)}\n`);
  }
  if (!holds) process.exitCode = 1;
}
