/** The server of `gprune ui` with its page, and a browser. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { build } from "vite";
import { afterAll } from "vitest";
import { pruneStarter } from "../src/cli/ui_process.ts";
import { serveUi, type UiServer } from "../src/ui/server.ts";
import { CHROMIUM } from "./browser.ts";
import { CLI } from "./compile.ts";

/** Timeout in milliseconds, long enough for a busy machine. */
export const PATIENCE = 120_000;

const CONFIG = join(import.meta.dirname, "..", "web", "vite.config.ts");

/**
 * A server for the runs in a directory's `runs`, and a browser. Both run from `start` until the tests of a file or
 * group have finished.
 */
export class UiInBrowser {
  server!: UiServer;
  browser!: Browser;

  /** Registers the cleanup. */
  constructor() {
    afterAll(async () => {
      await this.browser?.close();
      await this.server?.close();
    }, PATIENCE);
  }

  async start(root: string): Promise<void> {
    const [directory, page] = [join(root, "runs"), join(root, "page")];
    await mkdir(directory, { recursive: true });
    await build({ configFile: CONFIG, build: { outDir: page } });
    this.server = await serveUi({ directory, page, start: pruneStarter(CLI, []) });
    this.browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox"] });
  }
}
