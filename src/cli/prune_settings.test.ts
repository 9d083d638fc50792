import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { configOf, type PruneCommandOptions } from "./prune_settings.ts";

/** Resolved allocation of a run. @param options - of the command line @param allocation - in the configuration file */
async function allocationWith(options: object, allocation = "learned"): Promise<string | undefined> {
  const config = join(await temporaryDirectory(), "gprune.yaml");
  await writeFile(config, `model: m\noutput: o\nmethod: gprune\nallocation: ${allocation}\n`);
  return (await configOf(undefined, { config, ...options } as PruneCommandOptions)).config.allocation;
}

test("an output on the hub is refused, and so is one that is a file", async () => {
  const outputOf = (output: string) => configOf("m", { output } as PruneCommandOptions);
  await expect(outputOf("hf://me/small")).rejects.toMatchObject({
    code: "BAD_ARGUMENT",
    hint: "Prune into a directory, then upload it: gprune push DIR me/small",
  });
  await expect(outputOf("small.gguf")).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
});

test("a metric alone leaves out the learned sparsity of a file that is overridden", async () => {
  expect(await allocationWith({})).toBe("learned");
  expect(await allocationWith({ method: "none" })).toBeUndefined();
  expect(await allocationWith({ method: "none" }, "curves")).toBeUndefined();
  expect(await allocationWith({ method: "none" }, "uniform")).toBe("uniform");
  await expect(allocationWith({ method: "none", allocation: "learned" })).rejects.toMatchObject({
    code: "BAD_CONFIG",
    message: expect.stringContaining("command line"),
  });
});
