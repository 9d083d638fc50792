import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { runDemo } from "../demo.ts";
import { GpruneError } from "../errors.ts";
import { RunDirectory } from "../io/run/directory.ts";
import { keptWhenDone } from "./demo.ts";

test("a demo that fails removes what it has made, and nothing of another one in the same place", async () => {
  const root = await temporaryDirectory();
  const output = join(root, "made", "out");
  const run = keptWhenDone(
    async (makes) => {
      for (const name of ["own", "other"]) {
        if (name === "own") makes([join(output, name), join(output, `${name}.run`)]);
        await mkdir(join(output, name), { recursive: true });
        await writeFile(join(output, name, "model"), name);
      }
      throw new Error("refused");
    },
    [output, join(root, "made")],
  );
  await expect(run).rejects.toThrow("refused");
  expect((await readdir(root, { recursive: true })).sort()).toEqual([
    "made",
    "made/out",
    "made/out/other",
    "made/out/other/model",
  ]);
});

test("a demo on a full disk gets no advice about options that it lacks", async () => {
  const hint = "Free some space or write to another disk";
  const own = "Free some space, or write to another disk: gprune demo -o DIR.";
  const hints = [
    [`${hint}; fewer windows (--samples) need less.`, own],
    [`${hint}, or use --dtype bf16.`, own],
    [`${hint}.`, `${hint}.`],
  ] as const;
  for (const [given, said] of hints) {
    const run = keptWhenDone(async () => {
      throw new GpruneError("OUTPUT_FAILED", "out: expected 2 MB", { hint: given });
    });
    await expect(run).rejects.toMatchObject({ message: "out: expected 2 MB", hint: said });
  }
});

test("a demo makes nothing where another one is at work", async () => {
  const output = await temporaryDirectory();
  const other = await RunDirectory.claim(join(output, "flap-stories-only"));
  const made: string[] = [];
  const run = runDemo({ output, sparsity: 0.4, prompts: {}, onOutput: (paths) => made.push(...paths) });
  await expect(run).rejects.toMatchObject({ code: "LOCKED" });
  expect(made).toEqual([]);
  await other.leave();
});
