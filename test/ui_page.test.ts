/**
 * The page of `gprune ui` when its server refuses, fails or goes away. Skipped without Chromium.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { APIResponse, Page, Request } from "playwright-core";
import { beforeAll, describe, expect, test } from "vitest";
import { formatRunRecord } from "../src/report/run_record.ts";
import { type LiveRun, MAX_COMPARED, type UiState } from "../src/ui/api.ts";
import { CHROMIUM, fits, violations } from "./browser.ts";
import { suiteDirectory } from "./directories.ts";
import { reportFiles } from "./report_files.ts";
import { PATIENCE, UiInBrowser } from "./ui_in_browser.ts";

describe.skipIf(CHROMIUM === undefined)("the page and its server", { timeout: PATIENCE }, () => {
  const root = suiteDirectory("ui");
  const ui = new UiInBrowser();
  let page: Page;
  const ask = (path: string): Promise<APIResponse> => page.request.get(new URL(path, ui.server.address).href);

  beforeAll(async () => {
    for (let run = 0; run <= MAX_COMPARED; run++) {
      const directory = join(root(), "runs", `run-${run}`);
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, "run.json"), formatRunRecord(reportFiles().record));
    }
    await ui.start(root());
    page = await ui.browser.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.goto(ui.server.address);
  }, PATIENCE);

  test("compares at most so many runs as there is room for", async () => {
    const boxes = page.getByRole("checkbox");
    await expect.poll(() => boxes.count()).toBe(MAX_COMPARED + 1);
    for (const box of await boxes.all()) await box.check();
    await page
      .getByText(`${MAX_COMPARED + 1} runs selected; at most ${MAX_COMPARED} can be compared`)
      .waitFor();
    expect(await violations(page)).toEqual([]);
    const link = page.getByRole("link", { name: /^Compare/ });
    expect(await link.count()).toBe(0);
    await boxes.first().uncheck();
    await page.getByText(`${MAX_COMPARED} runs selected`, { exact: true }).waitFor();
    const opened = page.context().waitForEvent("page");
    await link.click();
    const comparison = await opened;
    await comparison.getByText(`Comparison of ${MAX_COMPARED} pruning runs`).waitFor();
    await comparison.close();
  });

  test("says why there is no form", async () => {
    const problem = { code: "INTERNAL", message: "schema: expected one, got none", hint: "Try again." };
    await page.route("**/api/schema", (route) => route.fulfill({ status: 500, json: problem }));
    await page.getByRole("link", { name: "New run" }).click();
    await page.getByRole("alert").getByText(problem.message).waitFor();
    expect(await page.getByText("Loading").count()).toBe(0);
    expect(await violations(page)).toEqual([]);
    await page.unroute("**/api/schema");
    await page.getByRole("link", { name: "All runs" }).click();
    await page.getByRole("link", { name: "New run" }).click();
    await page.getByRole("button", { name: "Start pruning" }).waitFor();
  });

  test("tells the curves of many sets apart, and their table keeps to a narrow page", async () => {
    const { live: _, ...state } = (await (await ask("/api/state")).json()) as UiState;
    const points = [1, 2, 3].map((step): [number, number] => [step, 10 / step]);
    const curves = Array.from({ length: 12 }, (_, set) => ({
      stage: "learn",
      name: `of kind ${set}`,
      points,
    }));
    const live: LiveRun = {
      id: "new",
      name: "new",
      base: "model",
      settings: {},
      state: "running",
      elapsed: 1,
      curves,
      stages: [],
      memory: null,
      log: [],
      failure: null,
    };
    const body = `event: state\ndata: ${JSON.stringify({ ...state, live })}\n\n`;
    await page.route("**/api/events", (route) => route.fulfill({ contentType: "text/event-stream", body }));
    await page.goto(ui.server.address);
    await page.getByText("As a table").click();
    await page.getByRole("columnheader", { name: "of kind 11" }).waitFor();
    for (const lines of ["figure > svg polyline", ".legend polyline"]) {
      const looks = await page.evaluate<readonly string[]>(
        `[...document.querySelectorAll("${lines}")].map((line) => getComputedStyle(line)).map((style) => style.stroke + style.strokeDasharray)`,
      );
      expect(new Set(looks).size).toBe(12);
    }
    await page.setViewportSize({ width: 360, height: 900 });
    expect(await fits(page)).toBe(true);
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 1280, height: 720 });
    await page.unroute("**/api/events");
  });

  test("does not hide below the bar of a comparison what has the focus", async () => {
    await page.goto(ui.server.address);
    await page.setViewportSize({ width: 1000, height: 500 });
    const boxes = page.getByRole("checkbox");
    await boxes.first().check();
    const bar = page.getByRole("region", { name: "Comparison" });
    for (const box of await boxes.all()) {
      await box.focus();
      const [own, over] = [(await box.boundingBox())!, (await bar.boundingBox())!];
      expect(own.y + own.height).toBeLessThanOrEqual(over.y);
    }
    await page.setViewportSize({ width: 1280, height: 720 });
  });

  test("tries again by itself when the browser has given up", async () => {
    const state = await (await ask("/api/state")).text();
    const ending = { contentType: "text/event-stream", body: `retry: 10\nevent: state\ndata: ${state}\n\n` };
    let asked = 0;
    // A stream that ends, then a status after which browsers do not reconnect.
    await page.route("**/api/events", (route) => {
      asked += 1;
      if (asked === 1) return route.fulfill(ending);
      return asked === 2 ? route.fulfill({ status: 503 }) : route.continue();
    });
    await page.reload();
    await page.getByText("Connection lost.").waitFor();
    await page.getByText("Connection lost.").waitFor({ state: "detached" });
    expect(asked).toBe(3);
  });

  test("holds a connection only while it is seen", async () => {
    const isEvents = (request: Request): boolean => request.url().endsWith("/api/events");
    const show = (visibilityState: "hidden" | "visible"): Promise<void> =>
      page.evaluate(`Object.defineProperty(document, "visibilityState", { configurable: true, value: "${visibilityState}" });
        document.dispatchEvent(new Event("visibilitychange"))`);
    const opened: Request[] = [];
    page.on("request", (request) => void (isEvents(request) && opened.push(request)));
    for (const _ of [1, 2]) {
      const closed = page.waitForEvent("requestfailed", isEvents);
      await show("hidden");
      await closed;
      const again = page.waitForRequest(isEvents);
      await show("visible");
      await again;
    }
    expect(opened).toHaveLength(2);
  });
});
