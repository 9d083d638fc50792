import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { type ComputeListener, ComputeProcess, type Outcome } from "./compute_process.ts";

const CHILD = join(import.meta.dirname, "compute_child.ts");

const SILENT: ComputeListener = {
  onProgress: () => {},
  onProgressEnd: () => {},
  onOut: () => {},
  onErr: () => {},
};

/** Output and outcome of a child that runs `body`; this process blocks for half a second after the first output. */
async function heard(body: string): Promise<{ readonly text: string; readonly outcome: Outcome }> {
  const script = join(await temporaryDirectory(), "child.mts");
  await writeFile(script, body);
  const texts: string[] = [];
  const listener: ComputeListener = {
    ...SILENT,
    onOut: (text) => {
      if (texts.push(text) === 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    },
  };
  const child = new ComputeProcess({ script, args: [], execArgv: ["--import", "tsx"] }, listener);
  const outcome = await child.outcome;
  return { text: texts.join(""), outcome };
}

describe("a computing process", () => {
  test("is heard to the end, however much it says last", async () => {
    const { text, outcome } = await heard(`
      import { computeForParent } from ${JSON.stringify(CHILD)};
      import { print as say } from ${JSON.stringify(join(import.meta.dirname, "terminal.ts"))};
      await computeForParent(async () => {
        say("first");
        await new Promise((resolve) => setTimeout(resolve, 100));
        say("x".repeat(2 ** 24));
      });
    `);
    expect(outcome).toEqual({ kind: "exited", code: 0 });
    expect(text.length).toBe("first\n".length + 2 ** 24 + 1);
  });

  test("does not begin when its parent was gone before it listened", async () => {
    const { outcome } = await heard(`
      import { computeForParent } from ${JSON.stringify(CHILD)};
      process.disconnect();
      await new Promise((resolve) => setTimeout(resolve, 100));
      await computeForParent(async () => {});
    `);
    expect(outcome).toHaveProperty("failure.message", expect.stringContaining("ended by exit code 143"));
  });

  test("has failed when it could not be started", async () => {
    const node = process.execPath;
    process.execPath = join(await temporaryDirectory(), "node");
    try {
      const { outcome } = await heard("");
      expect(outcome).toMatchObject({ kind: "failed", exitCode: 1, failure: { code: "OUT_OF_MEMORY" } });
      expect(outcome).toHaveProperty("failure.message", expect.stringContaining("ENOENT"));
    } finally {
      process.execPath = node;
    }
  });

  test("has ended as it has said when it then never exits", async () => {
    const outcomeOf = async (message: object): Promise<Outcome> => {
      const { outcome } = await heard(`
        const forever = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
        process.send(${JSON.stringify(message)}, forever);
      `);
      return outcome;
    };
    const failure = { code: "BAD_FILE", message: "a.txt: expected UTF-8" };
    const [failed, done] = await Promise.all([
      outcomeOf({ type: "failed", failure }),
      outcomeOf({ type: "done" }),
    ]);
    expect(failed).toEqual({ kind: "failed", exitCode: 1, failure });
    expect(done).toEqual({ kind: "exited", code: 0 });
  });

  test.each(["SIGKILL", "SIGSEGV"])(
    "has failed as it has said when %s ends it after that",
    async (signal) => {
      const { outcome } = await heard(`
      const failure = { code: "OUTPUT_FAILED", message: "out: expected a writable path, got ENOSPC" };
      process.send({ type: "failed", failure }, () => process.kill(process.pid, "${signal}"));
      setInterval(() => {}, 1000);
    `);
      expect(outcome).toMatchObject({ kind: "failed", exitCode: 1, failure: { code: "OUTPUT_FAILED" } });
    },
  );

  test.each([
    ["has kept progress", "prune", true],
    ["has kept none", "prune", false],
    ["cannot be resumed", "demo", true],
  ])(
    "says that progress is kept when it is killed only where there is some: it %s",
    async (_, word, kept) => {
      const directory = await temporaryDirectory();
      if (kept) await writeFile(join(directory, "manifest.json"), "{}");
      const script = join(directory, "child.mts");
      await writeFile(
        script,
        `process.send({ type: "keeps", directory: ${JSON.stringify(directory)} }, () => process.kill(process.pid, "SIGKILL"));
      setInterval(() => {}, 1000);`,
      );
      const command = { script, args: [word], execArgv: ["--import", "tsx"] };
      const outcome = await new ComputeProcess(command, SILENT).outcome;
      const hint = "Use fewer or shorter windows, close other programs, or use a larger machine.";
      const resume = " Saved progress is kept; continue with --resume.";
      const expected = kept && word === "prune" ? hint + resume : hint;
      expect(outcome).toHaveProperty("failure.hint", expected);
    },
  );

  test("has failed when it ends before it has said so", async () => {
    const { outcome } = await heard("process.disconnect();");
    expect(outcome).toMatchObject({ kind: "failed", exitCode: 2 });
    expect(outcome).toHaveProperty("failure.message", expect.stringContaining("ended by exit code 0"));
  });

  test.each([
    ["goes on to the end of its step when a signal comes twice within a second", [0, 999], false],
    ["is ended by a second signal after that", [0, 999, 1000], true],
  ])("%s", async (_, times, atOnce) => {
    const script = join(await temporaryDirectory(), "child.mts");
    // Runs until it is asked to stop, or longer than the test.
    await writeFile(
      script,
      `import { computeForParent, stopSignal } from ${JSON.stringify(CHILD)};
      import { interrupted } from ${JSON.stringify(join(import.meta.dirname, "../base/stages.ts"))};
      import { print as say } from ${JSON.stringify(join(import.meta.dirname, "terminal.ts"))};
      await computeForParent(async () => {
        const signal = stopSignal();
        say("at work");
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        ${atOnce ? "await new Promise((resolve) => setTimeout(resolve, 2 ** 30));" : ""}
        throw interrupted(signal, "Progress is kept.");
      });`,
    );
    let now = 0;
    const command = { script, args: ["prune"], execArgv: ["--import", "tsx"], clock: () => now };
    const child: ComputeProcess = new ComputeProcess(command, {
      ...SILENT,
      onOut: () => {
        for (now of times) child.stop("SIGTERM");
      },
    });
    expect(await child.outcome).toMatchObject({ kind: "interrupted", by: "SIGTERM", atOnce });
  });

  test("is ended by the first signal in a call of any length, if it keeps nothing", async () => {
    const script = join(await temporaryDirectory(), "child.mts");
    await writeFile(
      script,
      `import { computeForParent } from ${JSON.stringify(CHILD)};
      import { print as say } from ${JSON.stringify(join(import.meta.dirname, "terminal.ts"))};
      await computeForParent(async () => {
        say("at work");
        await new Promise((resolve) => setTimeout(resolve, 100));
        for (;;);
      });`,
    );
    const command = { script, args: ["eval"], execArgv: ["--import", "tsx"] };
    const child: ComputeProcess = new ComputeProcess(command, {
      ...SILENT,
      onOut: () => void setTimeout(() => child.stop("SIGTERM"), 500),
    });
    expect(await child.outcome).toMatchObject({ kind: "interrupted", by: "SIGTERM", atOnce: true });
  });
});
