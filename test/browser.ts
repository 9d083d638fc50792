/** Chromium, and what axe finds in a page. */
import { existsSync } from "node:fs";
import axe from "axe-core";
import type { Page } from "playwright-core";

/** Where Chromium is; undefined where there is none. */
export const CHROMIUM: string | undefined = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find(existsSync);

export const THEMES = ["light", "dark"] as const;

/** Violations of accessibility, the first place of each. */
export function violations(page: Page): Promise<readonly string[]> {
  return page.evaluate<readonly string[]>(
    `${axe.source}; axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + " " + nodes[0].html))`,
  );
}

/** Whether nothing sticks out to the right. */
export function fits(page: Page): Promise<boolean> {
  return page.evaluate<boolean>("document.documentElement.scrollWidth <= innerWidth");
}
