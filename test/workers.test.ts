import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import type { PruneOptions, RunConfig } from "../src/index.ts";
import type { WorkerEvent, WorkerSettings } from "../src/workers/index.ts";
import { compiledLibrary, compiledWorkers } from "./compiled.ts";
import { MockS3 } from "./mock_s3.ts";
import { hasPostgres, PostgresServer } from "./postgres_server.ts";
import { freePort, hasRedis, RedisServer } from "./redis_server.ts";
import { gprune, hashes, startCli } from "./run_cli.ts";
import { demoText, writeTinyCheckpoint } from "./tiny_checkpoint.ts";
import type { WorkerProcessSettings } from "./worker_process.ts";

const { prune, resolveRunConfig } = await compiledLibrary();
const { distributed, runWorker } = await compiledWorkers();

/** Files that have the same bytes in every run; others contain times. */
const FILES = ["config.json", "facts.json", "model.safetensors", "plan.json"];
/** Seconds of silence after which a worker's unit goes to another one. */
const LOCK_SECONDS = 2;

let root: string;
let server: { readonly url: string } & Pick<RedisServer, "start" | "kill" | "pause" | "resume">;
let model: string;
let expected: Readonly<Record<string, string>>;
let names = 0;

function freshName(): string {
  names += 1;
  return join(root, `${names}`);
}

/** Configuration of a run with gradients, robust rounds and least squares. */
function config(output: string): RunConfig {
  const calibration = ["code", "stories"].map((kind) => ({
    name: kind,
    path: demoText("calibration", kind),
  }));
  const settings = { samples: 5, seqLen: 48, rounds: 2, robust: true, metric: "fisher", report: false };
  return resolveRunConfig({ model, output, calibration, threads: 1, maxModules: 2, ...settings }, "test");
}

/** Prunes with workers, one layer in each unit. @returns hashes of the output */
async function pruned(store: string, options: PruneOptions = {}, output = freshName()): Promise<unknown> {
  const openPasses = distributed({ redis: server.url, store, threads: 1, layersPerUnit: 1 });
  await prune(config(output), { openPasses, ...options });
  return hashes(output, FILES);
}

interface Started {
  readonly events: WorkerEvent[];
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

const running: { stop(): Promise<void> }[] = [];

/** Starts a worker in this process, whose units a child computes. */
function work(store: string, more: Partial<WorkerSettings> = {}): Started {
  const events: WorkerEvent[] = [];
  const end = new AbortController();
  const ended = runWorker({
    redis: server.url,
    store,
    threads: 1,
    lockSeconds: LOCK_SECONDS,
    signal: end.signal,
    ...more,
    onEvent: async (event) => {
      events.push(event);
      await more.onEvent?.(event);
    },
  });
  ended.catch(() => {});
  const stop = async (): Promise<void> => {
    end.abort();
    await ended.catch(() => {});
  };
  const worker = { events, ended, stop };
  running.push(worker);
  return worker;
}

/** A worker in a process of its own. */
class WorkerProcess {
  readonly child: ChildProcess;
  readonly #events: WorkerEvent[] = [];
  readonly #heard = new Set<() => void>();

  constructor(store: string, hold?: string) {
    const settings: WorkerProcessSettings = {
      redis: server.url,
      store,
      threads: 1,
      lockSeconds: LOCK_SECONDS,
      ...(hold && { hold }),
    };
    const program = join(import.meta.dirname, "worker_process.ts");
    this.child = spawn(process.execPath, ["--import", "tsx", program, JSON.stringify(settings)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    createInterface(this.child.stdout!).on("line", (line) => {
      this.#events.push(JSON.parse(line) as WorkerEvent);
      for (const listener of this.#heard) listener();
    });
    running.push(this);
  }

  /** Waits for the first event of a kind. @throws when the process ends without it */
  said<K extends WorkerEvent["event"]>(kind: K): Promise<Extract<WorkerEvent, { readonly event: K }>> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const event = this.#events.find((candidate) => candidate.event === kind);
        if (event !== undefined) resolve(event as Extract<WorkerEvent, { readonly event: K }>);
      };
      this.#heard.add(look);
      this.child.once("close", () => reject(new Error(`the worker ended before it said "${kind}"`)));
      look();
    });
  }

  /** Lets a worker go on that holds. */
  release(): void {
    this.child.stdin!.write("\n");
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await gone;
  }
}

/** Records of a store by name. */
async function records(store: string): Promise<Readonly<Record<string, string>>> {
  const directory = join(store, "records");
  const entries = (await readdir(directory)).map(
    async (name) => [name, await readFile(join(directory, name), "utf8")] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Servers that can hold a queue. */
const SERVERS = [
  { name: "Redis", isHere: hasRedis, type: RedisServer },
  { name: "PostgreSQL", isHere: hasPostgres, type: PostgresServer },
] as const;

/** Takes seconds on an idle machine; on a busy one every process is slow to start. */
describe.each(SERVERS)("with a $name server", { timeout: 300_000 }, ({ isHere, type }) => {
  beforeAll(async () => {
    if (!isHere) return;
    root = await mkdtemp(join(tmpdir(), "gprune-test-"));
    // The server may run as another user.
    await chmod(root, 0o755);
    server = await type.start(join(root, "server"));
    model = await writeTinyCheckpoint(join(root, "model"));
    const output = freshName();
    await prune(config(output));
    expected = await hashes(output, FILES);
  }, 300_000);

  beforeEach(({ skip }) => {
    skip(!isHere, "the server is not installed");
  });

  afterEach(async () => {
    await Promise.all(running.splice(0).map((worker) => worker.stop()));
  });

  afterAll(async () => {
    if (!isHere) return;
    await server?.kill();
    await rm(root, { recursive: true, force: true });
  });

  test("two workers give the bytes of a run without any, and what is damaged is made again", async () => {
    const store = freshName();
    const workers = [work(store), work(store)];
    expect(await pruned(store)).toEqual(expected);
    const done = workers.map(({ events }) => events.filter(({ event }) => event === "finished").length);
    expect(Math.min(...done)).toBeGreaterThan(0);
    const kinds = workers.flatMap(({ events }) =>
      events.flatMap((event) => (event.event === "started" ? [event.what.split(" ")[0]] : [])),
    );
    expect(new Set(kinds)).toEqual(
      new Set(["statistics", "moments", "gradients", "slopes", "losses", "refit"]),
    );
    const before = await records(store);
    expect(done[0]! + done[1]! + 1).toBe(Object.keys(before).length);
    await damageObjects(store, Object.values(before));
    expect(await pruned(store)).toEqual(expected);
    expect(await records(store)).toEqual(before);
  });

  test("the units of a worker that is killed or stopped go to another one", async () => {
    const store = freshName();
    const first = new WorkerProcess(store, "started");
    const run = pruned(store);
    const { pid, unit } = await first.said("started");
    first.child.kill("SIGKILL");
    await gone(pid!);
    let second: Started | undefined;
    const third = new Promise<Started>((resolve) => {
      // The second worker is stopped in the middle of its second unit, and gives it back.
      let seen = 0;
      const onEvent = ({ event }: WorkerEvent): void => {
        seen += event === "started" ? 1 : 0;
        if (seen !== 2) return;
        seen += 1;
        void second!.stop();
        resolve(work(store));
      };
      second = work(store, { onEvent });
    });
    const { events } = await third;
    expect(await run).toEqual(expected);
    const [all, last] = [second!.events, events];
    expect([...all, ...last]).toContainEqual(expect.objectContaining({ event: "finished", unit }));
    expect(all.at(-1)).toMatchObject({ event: "dropped" });
  });

  test("a server that is killed and started again, and one that stands still, cost nothing but time", async () => {
    const store = freshName();
    let started = 0;
    const onEvent = async ({ event }: WorkerEvent): Promise<void> => {
      if (event === "started") started += 1;
      if (event === "started" && started === 2) {
        await server.kill();
        await server.start();
      }
      if (event === "started" && started === 5) {
        server.pause();
        setTimeout(() => server.resume(), 1500 * LOCK_SECONDS);
      }
    };
    for (let worker = 0; worker < 2; worker++) work(store, { onEvent });
    expect(await pruned(store)).toEqual(expected);
    // The server has been killed and paused.
    expect(started).toBeGreaterThanOrEqual(5);
  });

  test("a worker that comes too late changes nothing", async () => {
    const store = freshName();
    const late = new WorkerProcess(store, "started");
    const run = pruned(store);
    const { unit } = await late.said("started");
    late.child.kill("SIGSTOP");
    const other = work(store);
    expect(await run).toEqual(expected);
    await other.stop();
    const before = await records(store);
    expect(other.events).toContainEqual(expect.objectContaining({ event: "finished", unit, first: true }));
    late.child.kill("SIGCONT");
    late.release();
    expect(await late.said("finished")).toMatchObject({ unit, first: false });
    expect(await records(store)).toEqual(before);
  });

  test("a run and a worker that are told to stop end while the server is away", async () => {
    const store = freshName();
    const output = freshName();
    const end = new AbortController();
    const worker = new WorkerProcess(store);
    const left = once(worker.child, "exit");
    const run = pruned(store, { signal: end.signal }, output);
    await worker.said("started");
    await server.kill();
    end.abort();
    worker.child.kill("SIGTERM");
    const ends = await Promise.allSettled([run, left]);
    await server.start();
    expect(ends).toMatchObject([{ reason: { code: "INTERRUPTED" } }, { value: [0, null] }]);
    work(store);
    expect(await pruned(store, { resume: true }, output)).toEqual(expected);
  });

  test("a unit that ends every process is named, and the run goes on with another worker", async () => {
    const store = freshName();
    const output = freshName();
    const poisoned = work(store, {
      onEvent: (event) => {
        if (event.event === "started" && event.what === "losses") process.kill(event.pid!, "SIGKILL");
      },
    });
    await expect(pruned(store, {}, output)).rejects.toMatchObject({
      code: "UNIT_FAILED",
      message: expect.stringMatching(/^losses \(unit [0-9a-f]{64}\): .*ended by SIGKILL/),
    });
    await poisoned.stop();
    const { events } = work(store);
    expect(await pruned(store, { resume: true }, output)).toEqual(expected);
    const finished = poisoned.events.flatMap((event) => (event.event === "finished" ? [event.unit] : []));
    expect(finished.length).toBeGreaterThan(0);
    const again = events.filter((event) => event.event === "started" && finished.includes(event.unit));
    expect(again).toEqual([]);
  });

  test("a worker with another model gives its unit back and says so", async () => {
    const store = freshName();
    const other = await writeTinyCheckpoint(freshName(), { hiddenSize: 8 });
    const wrong = work(store, { model: other });
    const run = pruned(store);
    await expect(wrong.ended).rejects.toMatchObject({ code: "MODEL_DIFFERS" });
    work(store);
    expect(await run).toEqual(expected);
  });

  test("the command line does the same with a bucket, and a worker that is told to stop ends well", async () => {
    const s3 = await MockS3.start();
    onTestFinished(() => s3.close());
    const output = freshName();
    const place = ["--redis", server.url, "--store", "s3://bucket/some/place", "--json"];
    const worker = startCli(["worker", ...place, "--threads", "1"], s3.environment);
    running.push({ stop: async () => void worker.child.kill("SIGKILL") });
    // The bucket fails in the middle, for more requests than any process makes at once.
    let isFirst = true;
    createInterface(worker.child.stdout!).on("line", (line) => {
      if (!isFirst || JSON.parse(line).event !== "started") return;
      isFirst = false;
      s3.failures = 20;
    });
    const { calibration } = config(output);
    const settings = ["--samples", "5", "--seq-len", "48", "--rounds", "2", "--max-modules", "2"];
    const texts = calibration.map(({ name, path }) => `${name}=${path}`);
    const rest = ["--robust", "--metric", "fisher", "--threads", "1", "--no-report", "--calib", ...texts];
    const command = ["prune", model, "-o", output, ...settings, ...place, ...rest];
    expect(await startCli(command, s3.environment).result).toMatchObject({ code: 0 });
    expect(await hashes(output, FILES)).toEqual(expected);
    // A worker that waits for an unreachable server ends, too.
    await server.kill();
    worker.child.kill("SIGTERM");
    const { code, stdout } = await worker.result;
    await server.start();
    expect(code).toBe(0);
    const events = stdout.split("\n").filter((line) => line !== "");
    expect(events.map((line) => JSON.parse(line).event)).toContain("finished");
    const half = await gprune("prune", model, "-o", output, "--redis", server.url, ...rest);
    expect(half).toMatchObject({ code: 1, stderr: expect.stringContaining("--store") });
  });

  test("a server or a store that is not there is named", async () => {
    const { protocol } = new URL(server.url);
    const url = `${protocol}//user:secret@127.0.0.1:${await freePort()}`;
    const store = freshName();
    const unreachable = {
      code: "QUEUE_FAILED",
      message: expect.stringMatching(/^(?!.*secret).*, got connect ECONNREFUSED/),
    };
    await expect(runWorker({ redis: url, store })).rejects.toMatchObject(unreachable);
    const openPasses = distributed({ redis: url, store });
    await expect(prune(config(freshName()), { openPasses })).rejects.toMatchObject(unreachable);
    await writeFile(join(root, "file"), "");
    await expect(runWorker({ redis: server.url, store: join(root, "file") })).rejects.toMatchObject({
      code: "STORE_FAILED",
    });
    await expect(runWorker({ redis: "localhost", store })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });
});

/** Changes a byte in an object of a statistics unit, and in one of a losses unit. */
async function damageObjects(store: string, texts: readonly string[]): Promise<void> {
  for (const kind of ["stats", "losses"]) {
    const record = texts.find((text) => text.includes(`"${kind}":`))!;
    const { sha256 } = JSON.parse(record).objects[kind] as { readonly sha256: string };
    const path = join(store, "objects", sha256.slice(0, 2), sha256);
    const bytes = await readFile(path);
    bytes[bytes.length - 9]! ^= 1;
    await writeFile(path, bytes);
  }
}
