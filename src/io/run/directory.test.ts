import { existsSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { RunDirectory, type RunOptions } from "./directory.ts";

const FACTS = { seed: 0 };

/** A directory on another file system than temporary files; null where there is none. */
const OTHER_DISK =
  ["/dev/shm"].find((path) => existsSync(path) && statSync(path).dev !== statSync(tmpdir()).dev) ?? null;

async function target(): Promise<string> {
  return join(await temporaryDirectory(), "out");
}

/** A run that resumes the last one and keeps every state. */
async function claimed(output: string, options: RunOptions = {}): Promise<RunDirectory> {
  const run = await RunDirectory.claim(output, { resume: true, interval: 0, ...options });
  run.begin(FACTS);
  return run;
}

/** A stage of three units that counts those it computes; `failAt` interrupts it after that unit. */
async function sum(run: RunDirectory, computed: number[], failAt = Number.NaN): Promise<number> {
  return run.run(
    "sum",
    async (checkpoints: {
      restore(): Promise<number[] | undefined>;
      reached(s: () => number[]): Promise<void>;
    }) => {
      const done = [...((await checkpoints.restore()) ?? [])];
      for (let unit = done.length; unit < 3; unit++) {
        computed.push(unit);
        done.push(10 ** unit);
        await checkpoints.reached(() => done);
        if (unit === failAt) throw new Error("cut off");
      }
      return done.reduce((total, value) => total + value, 0);
    },
  );
}

describe("stages", () => {
  test("are computed once, and go on from their last state", async () => {
    const output = await target();
    const computed: number[] = [];
    const first = await claimed(output);
    await expect(sum(first, computed, 1)).rejects.toThrow("cut off");
    await first.leave();
    for (let attempt = 0; attempt < 2; attempt++) {
      const run = await claimed(output);
      expect(await sum(run, computed)).toBe(111);
      await run.leave();
    }
    expect(computed).toEqual([0, 1, 2]);
    const files = await readdir(`${output}.run`);
    expect(files).toEqual(["manifest.json", expect.stringMatching(/^sum\.[0-9a-f]{12}\.stage$/)]);
    const last = await claimed(output);
    expect(last.keptBytes).toBe((await readFile(join(last.path, files[1]!))).length);
    await last.leave();
  });

  test("are computed anew when their file is damaged or gone", async () => {
    const output = await target();
    const computed: number[] = [];
    for (const damage of [(path: string) => writeFile(path, "x"), (path: string) => rm(path)]) {
      const run = await claimed(output);
      expect(await sum(run, computed)).toBe(111);
      await run.leave();
      const stage = (await readdir(`${output}.run`)).find((name) => name.endsWith(".stage"))!;
      await damage(join(`${output}.run`, stage));
    }
    const run = await claimed(output);
    expect(await sum(run, computed)).toBe(111);
    await run.leave();
    expect(computed).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2]);
  });

  test("keep states no more often than asked", async () => {
    const output = await target();
    const run = await claimed(output, { interval: 1000 });
    await expect(sum(run, [], 1)).rejects.toThrow("cut off");
    expect(run.hasProgress).toBe(false);
    await run.leave();
    expect(await readdir(join(output, ".."))).toEqual([]);
  });

  test("stop at the end of a unit when they are told to, and keep its state", async () => {
    const output = await target();
    const controller = new AbortController();
    const run = await claimed(output, { interval: 1000, signal: controller.signal });
    const computed: number[] = [];
    controller.abort("enough");
    await expect(sum(run, computed)).rejects.toMatchObject({ code: "INTERRUPTED", cause: "enough" });
    expect(computed).toEqual([]);
    await run.leave();
    const later = new AbortController();
    const again = await claimed(output, { interval: 1000, signal: later.signal });
    const stopped = again.run("one", async (checkpoints) => {
      later.abort();
      await checkpoints.reached(() => 5);
    });
    await expect(stopped).rejects.toMatchObject({
      code: "INTERRUPTED",
      hint: `Progress is kept in ${output}.run.`,
    });
    await again.leave();
    const last = await claimed(output);
    expect(await last.run("one", (checkpoints) => checkpoints.restore())).toBe(5);
    await last.leave();
  });
});

describe("a claim", () => {
  test("refuses a run of other facts, naming them, and one that is not to be resumed", async () => {
    const output = await target();
    const run = await claimed(output);
    await sum(run, []);
    await run.leave();
    const before = (await readdir(`${output}.run`)).sort();
    await expect(RunDirectory.claim(output)).rejects.toMatchObject({
      code: "OUTPUT_EXISTS",
      hint: `Continue it with --resume, or remove ${output}.run to start over.`,
    });
    const other = await RunDirectory.claim(output, { resume: true });
    expect(() => other.begin({ seed: 1 })).toThrow(/got\n {2}seed: 1 instead of 0$/);
    await other.leave();
    expect((await readdir(`${output}.run`)).sort()).toEqual(before);
  });

  test("goes on in a directory that macOS's Finder has shown, and tidies up after it", async () => {
    const output = await target();
    const run = await claimed(output);
    await sum(run, []);
    await run.leave();
    await writeFile(join(`${output}.run`, ".DS_Store"), "icons");
    const other = await RunDirectory.claim(output, { resume: true });
    expect(other.hasProgress).toBe(true);
    expect(await readdir(`${output}.run`)).not.toContain(".DS_Store");
    await other.leave();
  });

  test("refuses what is not ours or damaged, and leaves it alone", async () => {
    const output = await target();
    await mkdir(`${output}.run`);
    await writeFile(join(`${output}.run`, "thesis.txt"), "mine");
    await expect(RunDirectory.claim(output)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await rm(join(`${output}.run`, "thesis.txt"));
    for (const text of [
      "{",
      '{"format": "gprune-run", "version": 2}',
      '{"entries": {"a": {"file": "../../x"}}}',
    ]) {
      await writeFile(join(`${output}.run`, "manifest.json"), text);
      await expect(RunDirectory.claim(output)).rejects.toMatchObject({ code: "BAD_CHECKPOINT" });
      expect(await readdir(`${output}.run`)).toEqual(["manifest.json"]);
    }
  });

  test.runIf(OTHER_DISK !== null)(
    "refuses a directory on another file system than the output's",
    async () => {
      const output = await target();
      const elsewhere = await mkdtemp(join(OTHER_DISK!, "gprune-"));
      onTestFinished(() => rm(elsewhere, { recursive: true }));
      await symlink(elsewhere, `${output}.run`);
      await expect(RunDirectory.claim(output)).rejects.toMatchObject({
        code: "OUTPUT_FAILED",
        message: `${elsewhere}: expected a directory on the same file system as the output in ${dirname(output)}, got another file system`,
        hint: expect.stringContaining("Choose an output on the file system of this directory"),
      });
      expect(await readdir(elsewhere)).toEqual([]);
      const run = await RunDirectory.claim(join(elsewhere, "out"));
      await run.leave();
      expect(await readdir(elsewhere)).toEqual([]);
    },
  );

  test("keeps everything when the manifest cannot be looked at", async () => {
    const output = await target();
    const run = await claimed(output);
    await sum(run, []);
    await run.leave();
    const manifest = join(`${output}.run`, "manifest.json");
    await rename(manifest, `${output}.manifest`);
    // Simulates a disk that fails for a moment.
    await symlink("manifest.json", manifest);
    const kept = (await readdir(`${output}.run`)).sort();
    await expect(RunDirectory.claim(output, { resume: true })).rejects.toMatchObject({ code: "BAD_FILE" });
    expect((await readdir(`${output}.run`)).sort()).toEqual(kept);
    await rename(`${output}.manifest`, manifest);
    const computed: number[] = [];
    const next = await claimed(output);
    expect(await sum(next, computed)).toBe(111);
    expect(computed).toEqual([]);
    await next.leave();
  });

  test("removes what a killed run left half written", async () => {
    const output = await target();
    await mkdir(join(`${output}.run`, "output"), { recursive: true });
    const names = [
      ".sum.abc.stage.tmp-0123456789ab",
      "sum.0123456789ab.stage",
      "lock.00ff",
      "output/model.safetensors",
    ];
    for (const name of names) await writeFile(join(`${output}.run`, name), "half");
    const run = await claimed(output);
    expect(await readdir(`${output}.run`)).toEqual(["lock"]);
    await run.leave();
    expect(await readdir(join(output, ".."))).toEqual([]);
  });

  test("of two at once only one holds it, and parents that were made go with it", async () => {
    const root = await temporaryDirectory();
    const output = join(root, "a", "b", "out");
    const run = await claimed(output);
    await expect(RunDirectory.claim(output, { resume: true })).rejects.toMatchObject({ code: "LOCKED" });
    await run.leave();
    expect(await readdir(root)).toEqual([]);
  });
});

describe("what does not fit into memory", () => {
  test("waits in a file that outlives the writing of the output and goes with the run", async () => {
    const output = await target();
    const run = await claimed(output);
    const stash = await run.openStash("layer inputs");
    await stash.put(0, { shape: [2], data: Float32Array.of(1, 2) });
    expect(await readdir(run.path)).toContainEqual(
      expect.stringMatching(/^layer-inputs\.[0-9a-f]{12}\.spill$/),
    );
    await run.writeOutput(output, async () => {
      expect(await stash.get(0)).toEqual({ shape: [2], data: Float32Array.of(1, 2) });
    });
    run.clear();
    await run.leave();
    await expect(readdir(run.path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("and cannot be closed does not keep the directory locked", async () => {
    const output = await target();
    const run = await claimed(output);
    const stash = await run.openStash("layer inputs");
    const close = stash.close.bind(stash);
    vi.spyOn(stash, "close").mockImplementation(async () => {
      await close();
      throw new Error("EIO");
    });
    await run.leave();
    const next = await claimed(output);
    expect(await readdir(next.path)).toEqual(["lock"]);
    await next.leave();
    expect(await readdir(dirname(output))).toEqual([]);
  });

  test("of a run that was killed is removed", async () => {
    const output = await target();
    const killed = await claimed(output);
    await killed.run("a stage", async () => 1);
    await killed.leave();
    await writeFile(join(`${output}.run`, "refit.0123456789ab.spill"), "left");
    const next = await claimed(output);
    expect((await readdir(next.path)).filter((name) => name.endsWith(".spill"))).toEqual([]);
    next.clear();
    await next.leave();
  });
});

describe("the output", () => {
  test("appears at once, without files that are left from before, and goes on with those that are kept", async () => {
    const output = await target();
    const written: string[] = [];
    const attempt = async (run: RunDirectory, cutOff: boolean): Promise<void> =>
      run.writeOutput(output, async (directory, kept) => {
        for (const name of ["a", "b"]) {
          if (await kept.has(name)) continue;
          written.push(name);
          await writeFile(join(directory, name), name);
          await kept.add(name);
          if (cutOff) throw new Error("cut off");
        }
        await writeFile(join(directory, "c"), "c", { flag: "wx" });
      });
    const first = await claimed(output);
    await expect(attempt(first, true)).rejects.toThrow("cut off");
    await first.leave();
    await writeFile(join(`${output}.run`, "output", "c"), "old");
    const second = await claimed(output);
    await attempt(second, false);
    second.clear();
    await second.leave();
    expect(written).toEqual(["a", "b"]);
    expect(await readdir(join(output, ".."))).toEqual(["out"]);
    expect(await readFile(join(output, "c"), "utf8")).toBe("c");
  });

  test("forgets files that are to be written otherwise, but no stages", async () => {
    const output = await target();
    const first = await claimed(output);
    first.begin({ seed: 0 }, { written: { dtype: "f16" } });
    await sum(first, []);
    const cutOff = first.writeOutput(output, async (directory, kept) => {
      await writeFile(join(directory, "a"), "a");
      await kept.add("a");
      throw new Error("cut off");
    });
    await expect(cutOff).rejects.toThrow("cut off");
    await first.leave();
    const has = async (dtype: string): Promise<boolean> => {
      const run = await RunDirectory.claim(output, { resume: true });
      run.begin({ seed: 0 }, { written: { dtype } });
      let found = false;
      const looked = run.writeOutput(output, async (_, kept) => {
        found = await kept.has("a");
        throw new Error("looked");
      });
      await expect(looked).rejects.toThrow("looked");
      expect(run.hasProgress).toBe(true);
      await run.leave();
      return found;
    };
    expect(await has("f16")).toBe(true);
    expect(await has("bf16")).toBe(false);
  });

  test("takes the place of an empty directory behind a link, and never that of files", async () => {
    const root = await temporaryDirectory();
    await mkdir(join(root, "real"));
    await symlink("real", join(root, "out"));
    const run = await claimed(join(root, "out"));
    expect(run.path).toBe(join(root, "real.run"));
    await run.writeOutput(join(root, "out"), (directory) => writeFile(join(directory, "a"), "a"));
    const second = run.writeOutput(join(root, "out"), (directory) => writeFile(join(directory, "a"), "b"));
    await expect(second).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    run.clear();
    await run.leave();
    expect(await readdir(root)).toEqual(["out", "real"]);
    expect(await readFile(join(root, "out", "a"), "utf8")).toBe("a");
  });
});
