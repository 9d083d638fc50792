import { expect, test } from "vitest";
import { hintForPage } from "./ui_process.ts";

test("the page's user gets no advice for a command line and no name of a temporary file", () => {
  const file = "/tmp/gprune-ui-1/run.yaml";
  const start = "Relative paths start at the current directory, /home/a.";
  const named = `${file} names it. ${start}`;
  const next = "Run gprune where they lead to the files, or name the files anew on the command line.";
  const kept = "Progress is kept in a.run; repeat the command with --resume to go on.";
  expect(hintForPage(`${file} names it. ${next}`, file)).toBeNull();
  expect(hintForPage(`${named} ${next} texts.txt is a plain text. ${kept}`, file)).toBe(
    `${start} texts.txt is a plain text.`,
  );
  expect(hintForPage("Give --seq-len 256, or less.", file)).toBeNull();
  const memory = "Give fewer or shorter windows, close other programs, or use a larger machine.";
  expect(hintForPage(`${memory} What was computed is kept; --resume goes on with it.`, file)).toBe(memory);
});
