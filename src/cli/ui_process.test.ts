import { expect, test } from "vitest";
import { hintForPage } from "./ui_process.ts";

test("the page's user gets no advice for a command line and no name of a temporary file", () => {
  const file = "/tmp/gprune-ui-1/run.yaml";
  const start = "Relative paths start at the current directory, /home/a.";
  const named = `${file} names it. ${start}`;
  const next =
    "Run gprune in the directory that they are relative to, or give the paths on the command line.";
  const kept = "Progress is kept in a.run; repeat the command with --resume to continue.";
  expect(hintForPage(`${file} names it. ${next}`, file)).toBeNull();
  expect(hintForPage(`${named} ${next} texts.txt is a plain text. ${kept}`, file)).toBe(
    `${start} texts.txt is a plain text.`,
  );
  expect(hintForPage("Use --seq-len 256.", file)).toBeNull();
  expect(hintForPage("Use shorter windows (--seq-len).", file)).toBe("Use shorter windows.");
  const memory = "Use fewer or shorter windows, close other programs, or use a larger machine.";
  expect(hintForPage(`${memory} Saved progress is kept; continue with --resume.`, file)).toBe(memory);
});
