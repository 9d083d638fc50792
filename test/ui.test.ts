/**
 * `gprune ui` in a browser, as a user does: from the printed address through a run to its end and its report. Skipped
 * without Chromium; .ci/run installs it.
 */
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import { afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { formatRunRecord } from "../src/report/run_record.ts";
import type { UiServer } from "../src/ui/server.ts";
import { CHROMIUM, fits, THEMES, violations } from "./browser.ts";
import { suiteDirectory, temporaryDirectory } from "./directories.ts";
import { reportFiles } from "./report_files.ts";
import { startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";
import { PATIENCE, UiInBrowser } from "./ui_in_browser.ts";

describe.skipIf(CHROMIUM === undefined)("the page in Chromium", { timeout: 2 * PATIENCE }, () => {
  const root = suiteDirectory("ui");
  const ui = new UiInBrowser();
  let server: UiServer;
  let context: BrowserContext;
  let page: Page;
  let model: string;
  let texts: { readonly stories: string; readonly code: string };
  const problems: string[] = [];

  beforeAll(async () => {
    model = await writeTinyCheckpoint(join(root(), "model"));
    texts = await writeTinyTexts(root());
    await ui.start(root());
    server = ui.server;
    context = await ui.browser.newContext({ viewport: { width: 390, height: 800 } });
    context.setDefaultTimeout(PATIENCE);
    page = await context.newPage();
    page.on("pageerror", (error) => problems.push(error.message));
    // The browser logs refused forms, and requests without a token.
    page.on("console", (message) => {
      if (!/400 \(Bad Request\)|401 \(Unauthorized\)/.test(message.text())) problems.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(`http://127.0.0.1:${server.port}/`)) problems.push(request.url());
    });
  }, PATIENCE);
  afterEach(() => expect(problems.splice(0)).toEqual([]));

  /** Expects no axe violations and no overflow in both themes, at the widths of a phone and of a desktop. */
  async function expectGoodLooks(): Promise<void> {
    for (const colorScheme of THEMES) {
      for (const width of [390, 1280]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 800 });
        expect(await violations(page)).toEqual([]);
        expect(await fits(page)).toBe(true);
      }
    }
  }

  /** Fills the form by labels, and submits it by keyboard. */
  async function startRun(name: string, settings: Readonly<Record<string, string>>): Promise<void> {
    await page.getByLabel("Name", { exact: true }).first().fill(name);
    for (const [label, value] of Object.entries(settings))
      await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByRole("button", { name: "Start pruning" }).press("Enter");
  }

  /** Waits until a field marked as wrong has the focus. @returns its name and its descriptions */
  async function wrongField(): Promise<string> {
    const field = page.locator("[aria-invalid=true]:focus");
    await field.waitFor();
    return page.evaluate<string>(
      `[document.activeElement.labels[0], ...document.activeElement.getAttribute("aria-describedby").split(" ").map((id) => document.getElementById(id))].map((node) => node.textContent).join(" | ")`,
    );
  }

  test("lets in who has the address", async () => {
    await page.goto(`http://127.0.0.1:${server.port}/`);
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").textContent()).toContain("token");
    await page.goto(server.address);
    await page.getByRole("heading", { name: "No runs yet" }).waitFor();
    expect(page.url()).toBe(`http://127.0.0.1:${server.port}/`);
    await expectGoodLooks();
  });

  test("says what is wrong with a form, then starts it and shows it to its end", async () => {
    await page.getByRole("link", { name: "New run" }).first().press("Enter");
    await page.getByRole("button", { name: "Add a set" }).click();
    const sets = page.getByRole("group", { name: /^Set \d/ });
    for (const [index, [name, path]] of Object.entries(Object.entries(texts))) {
      await sets.nth(Number(index)).getByLabel("Name").fill(name);
      await sets.nth(Number(index)).getByLabel("Path").fill(path);
    }
    const calibration = page.getByRole("group", { name: "Calibration" });
    expect(await calibration.getByLabel("Own text").isVisible()).toBe(true);
    await page.getByText("More settings").first().click();
    await expectGoodLooks();
    const small = {
      "Windows per set": "3",
      "Tokens per window": "24",
      Rounds: "3",
      "Gradient windows": "2",
    };
    await startRun("first", { Model: join(root(), "none"), Sparsity: "0.3", ...small });
    // Refused without leaving the form, with the wrong field.
    await page.getByRole("alert").getByText("Model: expected a model").waitFor();
    expect(await wrongField()).toMatch(/^Model [|] .* [|] expected a model, got no such file or directory: /);
    await page.getByLabel("Model", { exact: true }).fill(join(root(), "runs"));
    await page.getByRole("alert").waitFor({ state: "detached" });
    await sets.nth(1).getByLabel("Path").fill("nope.txt");
    await startRun("first", {});
    await page.getByRole("alert").getByText("Set 2, path: expected a text").waitFor();
    expect(await wrongField()).toMatch(
      /^Path [|] .* [|] expected a text, got no such file or directory: nope.txt$/,
    );
    await expectGoodLooks();
    await sets.nth(1).getByLabel("Path").fill(texts.code);
    // A directory without a model is noticed only when the run opens it.
    await startRun("first", {});
    await page.getByRole("alert").getByText("runs: expected a model").waitFor();
    await page.getByText("No stage was started.").waitFor();
    // The entries are there again, by the run's link and by the one to a new run, until "Start with an empty form".
    await page.getByRole("link", { name: "New like this first" }).click();
    await page.getByText("These are the settings of first, which failed.").waitFor();
    expect(await page.getByLabel("Name", { exact: true }).first().inputValue()).toBe("first");
    await page.getByRole("link", { name: "Start with an empty form" }).click();
    await expect.poll(() => page.getByLabel("Model", { exact: true }).inputValue()).toBe("");
    await page.getByRole("link", { name: "All runs" }).click();
    await page.getByRole("link", { name: "New run" }).first().click();
    await expect.poll(() => page.getByRole("button", { name: "Start pruning" }).isEnabled()).toBe(true);
    expect(await page.getByLabel("Model", { exact: true }).inputValue()).toBe(join(root(), "runs"));
    for (const [index, [name, path]] of Object.entries(Object.entries(texts))) {
      expect(await sets.nth(Number(index)).getByLabel("Name").inputValue()).toBe(name);
      expect(await sets.nth(Number(index)).getByLabel("Path").inputValue()).toBe(path);
    }
    expect(await page.getByLabel("Rounds", { exact: true }).inputValue()).toBe("3");
    await page
      .getByText(`Relative paths start at ${process.cwd()}, the directory where gprune ui was started.`)
      .waitFor();
    await expectGoodLooks();
    await startRun("first", { Model: model });
    const live = page.getByRole("region", { name: /^first/ });
    await live.getByText("Finished", { exact: true }).waitFor();
    expect(await live.getByRole("listitem").allInnerTexts()).toEqual(
      expect.arrayContaining([expect.stringContaining("learn"), expect.stringContaining("recover")]),
    );
    const chart = await live.getByRole("img").getAttribute("aria-label");
    expect(chart).toMatch(
      /^Loss of each set, nats per token, by round: stories from [\d.]+ to [\d.]+; code from/,
    );
    await page.getByRole("listitem").getByText("of attention and FFN").first().waitFor();
    await expectGoodLooks();
  });

  test("opens the report, in an origin of its own, and starts another run like the first", async () => {
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: /^Open report/ }).click();
    const report = await opened;
    await report.waitForLoadState();
    expect(await report.title()).toContain("pruned: first");
    expect(await report.evaluate("self.origin")).toBe("null");
    await report.close();
    await page.getByRole("link", { name: "New like this first" }).click();
    expect(await page.getByLabel("Name", { exact: true }).first().inputValue()).toBe("first-2");
    expect(await page.getByLabel("Model", { exact: true }).inputValue()).toBe(model);
    // Values derived from defaults are left empty, so that they follow other settings.
    const more = page.getByText("More settings").first();
    await more.click();
    const allocation = page.getByLabel("Allocation", { exact: true });
    const derived = [allocation, page.getByLabel("Windows per set for least squares", { exact: true })];
    for (const field of derived) expect(await field.inputValue()).toBe("");
    // The set that the model wrote is there as well.
    expect(await page.getByRole("group", { name: /^Set \d/ }).count()).toBe(3);
    await page.getByLabel("Method", { exact: true }).selectOption("none");
    await allocation.selectOption("curves");
    await more.click();
    await startRun("first-2", { Sparsity: "0.5" });
    expect(await wrongField()).toMatch(/^Allocation [|] .* [|] learned and curves need method gprune/);
    expect(await allocation.isVisible()).toBe(true);
    await expectGoodLooks();
    // A field that the browser itself refuses is shown, too.
    await allocation.selectOption("");
    await page.getByLabel("Rounds", { exact: true }).fill("65");
    await more.click();
    await startRun("first-2", {});
    await expect.poll(() => page.getByLabel("Rounds", { exact: true }).isVisible()).toBe(true);
    await startRun("first-2", { Rounds: "3" });
    await page
      .getByRole("region", { name: /^first-2/ })
      .getByText("Finished")
      .waitFor();
  });

  test("compares runs", async () => {
    for (const box of await page.getByRole("checkbox").all()) await box.check();
    await expectGoodLooks();
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: /^Compare/ }).click();
    const comparison = await opened;
    await comparison.getByText("Comparison of 2 pruning runs").waitFor();
    await comparison.close();
  });

  test("stops a run, which can be resumed", async () => {
    await page.getByRole("link", { name: "New like this first", exact: true }).click();
    await page.getByText("More settings").first().click();
    // Long enough to be stopped before it ends, on any machine.
    await startRun("long", { Sparsity: "0.5", Rounds: "64", "Gradient windows": "3" });
    const live = page.getByRole("region", { name: /^long/ });
    await live.getByText("learn").first().waitFor();
    await live.getByRole("img").waitFor();
    await live.getByRole("button", { name: "Stop" }).press("Enter");
    await live.getByText("Stopped", { exact: true }).waitFor();
    await live.getByText(/^stopped at \d+ %$/).waitFor();
    expect(await live.getByRole("progressbar").count()).toBe(0);
    // The button is gone, and the focus has moved to the heading.
    await live.locator("h2:focus").waitFor();
    await expectGoodLooks();
    await live.getByRole("button", { name: "Resume long" }).press("Enter");
    await live.getByRole("button", { name: "Stop" }).press("Enter");
    await live.getByText("Stopped", { exact: true }).waitFor();
    // The same with the button in the list.
    await page.getByRole("article").getByRole("button", { name: "Resume long" }).press("Enter");
    await live.locator("h2:focus").waitFor();
    await live.getByText("Finished", { exact: true }).waitFor();
    await live.locator("h2:focus").waitFor();
    // The chart still has the rounds from before the stop.
    await live.getByText("As a table").click();
    expect(await live.getByRole("row").nth(-1).textContent()).toMatch(/^64/);
    expect(await live.locator("polyline").first().getAttribute("points")).toMatch(/^(\S+ ){63}\S+$/);
    expect(existsSync(join(root(), "runs", "long", "report.html"))).toBe(true);
  });

  test("finds runs in a long list", async () => {
    const { record } = reportFiles();
    for (const name of ["web-1", "web-2", "code-1"]) {
      await mkdir(join(root(), "runs", name));
      await writeFile(join(root(), "runs", name, "run.json"), formatRunRecord(record));
    }
    const filter = page.getByRole("searchbox", { name: "Filter" });
    await filter.fill("web- flap");
    const names = () => page.getByRole("article").getByRole("heading").allInnerTexts();
    await expect.poll(names).toEqual(["web-1", "web-2"]);
    await page.getByText("2 of 6 runs").waitFor();
    await expectGoodLooks();
    await filter.fill("nothing");
    await page.getByText("0 of 6 runs").waitFor();
    await filter.fill("");
    await expect.poll(async () => (await names()).length).toBe(6);
  });
});

test("gprune ui prints its address and leaves when it is told to", async () => {
  const { child, result } = startCli(["ui", await temporaryDirectory()]);
  onTestFinished(() => void child.kill("SIGKILL"));
  await Promise.race([once(child.stdout!, "data"), result]);
  child.kill("SIGINT");
  const { code, stdout } = await result;
  expect(stdout).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{32}\n$/);
  expect(code).toBe(0);
});
