/** Path of Chromium, and checks of a page: axe violations, and its width. */
import { existsSync } from "node:fs";
import axe from "axe-core";
import type { Page } from "playwright-core";

/** Path of Chromium; undefined if it is not installed. */
export const CHROMIUM: string | undefined = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find(existsSync);

export const THEMES = ["light", "dark"] as const;

/** Accessibility violations with the first element of each. */
export function violations(page: Page): Promise<readonly string[]> {
  return page.evaluate<readonly string[]>(
    `${axe.source}; axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + " " + nodes[0].html))`,
  );
}

/** Whether the page is no wider than the window. */
export function fits(page: Page): Promise<boolean> {
  return page.evaluate<boolean>("document.documentElement.scrollWidth <= innerWidth");
}
