import { mkdir, symlink, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { suiteDirectory } from "../../test/directories.ts";
import { reportFiles } from "../../test/report_files.ts";
import { formatRunRecord } from "../report/run_record.ts";
import type { UiState } from "./api.ts";
import { serveUi, type UiServer } from "./server.ts";
import type { RunEnding, RunListener, StartRun } from "./start_run.ts";

/** A fake run that the test controls. */
interface Puppet {
  readonly listener: RunListener;
  readonly config: Readonly<Record<string, unknown>>;
  readonly resume: boolean;
  stops: number;
  end(ending: RunEnding): void;
}

const root = suiteDirectory("ui");
let server: UiServer;
const puppets: Puppet[] = [];
/** What a form needs at least. */
const SETTINGS = { model: "hf://a/m", calibration: [{ name: "own", path: "self" }] };

const start: StartRun = ({ config, resume }, listener) => {
  let end: (ending: RunEnding) => void = () => {};
  const ending = new Promise<RunEnding>((resolve) => {
    end = resolve;
  });
  const puppet: Puppet = { listener, config: { ...config }, resume, stops: 0, end };
  puppets.push(puppet);
  return {
    ending,
    stop: () => {
      puppet.stops += 1;
      end({ state: "stopped" });
    },
  };
};

beforeAll(async () => {
  const page = join(root(), "page");
  await mkdir(join(page, "assets"), { recursive: true });
  await writeFile(join(page, "index.html"), "<!doctype html><title>gprune</title>");
  await writeFile(join(page, "assets", "index.js"), "0");
  await writeFile(join(root(), "secret.txt"), "secret");
  const runs = join(root(), "runs");
  const { record } = reportFiles();
  const ofPlan = { ...record, settings: { ...record.settings, plan: "first/plan.json" } };
  for (const [name, found] of [
    ["first", record],
    ["nested/second", ofPlan],
  ] as const) {
    await mkdir(join(runs, name), { recursive: true });
    await writeFile(join(runs, name, "run.json"), formatRunRecord(found));
    await writeFile(join(runs, name, "report.html"), `<!doctype html><title>${name}</title>`);
  }
  await mkdir(join(runs, "broken"));
  await writeFile(join(runs, "broken", "run.json"), "{");
  await mkdir(join(runs, "sly"));
  await writeFile(join(runs, "sly", "run.json"), formatRunRecord(record));
  await symlink(join(root(), "secret.txt"), join(runs, "sly", "report.html"));
  server = await serveUi({ directory: runs, start, page });
});
afterAll(async () => {
  await server.close();
});

interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Sends a request as any local program can: the path is not normalised, and no headers are added. */
function ask(path: string, { method = "GET", headers = {}, body }: Asked = {}): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const target = { host: "127.0.0.1", port: server.port, path, method, headers, agent: false };
    const sent = request(target, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    sent.on("error", reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const bearer = (): Record<string, string> => ({ Authorization: `Bearer ${server.token}` });
const origin = (): string => `http://127.0.0.1:${server.port}`;
/** Cookie that the server gives a browser which opens its address. */
const cookie = async (): Promise<string> => {
  const { headers } = await ask(`/?token=${server.token}`);
  return (headers["set-cookie"] as string[])[0]!.split(";")[0]!;
};
const state = async (): Promise<UiState> =>
  JSON.parse((await ask("/api/state", { headers: bearer() })).text) as UiState;

describe("who may ask", () => {
  test("refuses other hosts and other pages everywhere", async () => {
    const hosts = ["evil.example", `evil.example:${server.port}`, "127.0.0.1", `127.0.0.2:${server.port}`];
    for (const path of ["/", "/api/state"]) {
      for (const Host of hosts) {
        expect((await ask(path, { headers: { ...bearer(), Host } })).status).toBe(421);
      }
      for (const Origin of ["http://evil.example", "null", `https://127.0.0.1:${server.port}`]) {
        expect((await ask(path, { headers: { ...bearer(), Origin } })).status).toBe(403);
      }
    }
    const named = { ...bearer(), Host: `localhost:${server.port}` };
    expect((await ask("/api/state", { headers: named })).status).toBe(200);
  });

  test("answers 400 to a request target that is no path", async () => {
    const answered = (method: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const asked = request({ host: "127.0.0.1", port: server.port, method, path: "*" });
        asked.on("response", ({ statusCode }) => resolve(statusCode)).on("error", reject);
        asked.end();
      });
    expect(await Promise.all(["GET", "OPTIONS"].map(answered))).toEqual([400, 400]);
  });

  test("gives the page to everybody, and nothing else without the token", async () => {
    expect((await ask("/")).status).toBe(200);
    const paths = ["/api/state", "/api/schema", "/api/events", "/runs/report?run=first", "/runs/compare"];
    for (const path of paths) {
      expect((await ask(path)).status).toBe(401);
      for (const wrong of ["", "x", `${server.token}x`, server.token.slice(1), server.token.toUpperCase()]) {
        const headers = { Authorization: `Bearer ${wrong}`, Cookie: `gprune-${server.port}=${wrong}` };
        expect((await ask(path, { headers })).status).toBe(401);
      }
    }
    for (const path of ["/api/runs", "/api/resume", "/api/stop"]) {
      expect((await ask(path, { method: "POST", body: {} })).status).toBe(401);
    }
    const mine = await cookie();
    // Other servers of this machine may set cookies of the same name.
    for (const Cookie of [mine, `a=b; gprune-${server.port}=other; ${mine}`]) {
      expect((await ask("/api/state", { headers: { Cookie } })).status).toBe(200);
    }
  });

  test("gives for the token of the address a cookie that scripts cannot read, and that is not the token", async () => {
    const right = await ask(`/?token=${server.token}`);
    expect([right.status, right.headers.location]).toEqual([303, `/#token=${server.token}`]);
    const [set] = right.headers["set-cookie"] as string[];
    expect(set).toMatch(/^gprune-\d+=[\w-]{32}; Path=[/]; HttpOnly; SameSite=Strict$/);
    expect(set).not.toContain(server.token);
    const wrong = await ask("/?token=guess");
    expect([wrong.status, wrong.headers.location, wrong.headers["set-cookie"]]).toEqual([
      303,
      "/",
      undefined,
    ]);
    expect(server.address).toBe(`${origin()}/?token=${server.token}`);
  });

  test("lets nobody change anything with a cookie, which browsers show to every server of this machine", async () => {
    const Cookie = await cookie();
    const stop = async (headers: Readonly<Record<string, string>>): Promise<number> =>
      (await ask("/api/stop", { method: "POST", headers, body: {} })).status;
    expect(await stop({ Cookie, Origin: origin() })).toBe(401);
    const [, value] = Cookie.split("=");
    expect(await stop({ Authorization: `Bearer ${value}` })).toBe(401);
    expect(await stop({ ...bearer(), Origin: origin() })).toBe(404);
  });

  test("forbids pages everything that they do not need", async () => {
    const { headers } = await ask("/");
    expect(headers).toMatchObject({
      "content-security-policy": expect.stringMatching(
        /^default-src 'none'; script-src 'self'; style-src 'self';/,
      ),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-store",
    });
    const report = await ask("/runs/report?run=first", { headers: bearer() });
    expect(report.headers["content-security-policy"]).toMatch(
      /^sandbox allow-scripts allow-downloads; default-src 'none'/,
    );
  });

  test("serves no file outside the page's assets and the runs", async () => {
    const outside = [
      "/../secret.txt",
      "/assets/../../secret.txt",
      "/assets/..%2f..%2fsecret.txt",
      "/assets/%2e%2e/index.html",
      "/assets/index.html",
      "/secret.txt",
      "/runs/report?run=..",
      "/runs/report?run=..%2fsecret.txt",
      `/runs/report?run=${encodeURIComponent(root())}`,
      "/runs/report?run=first%2f..%2ffirst",
      "/runs/report?run=__proto__",
      "/runs/report",
    ];
    for (const path of outside) {
      const { status, text } = await ask(path, { headers: bearer() });
      expect([path, status]).toEqual([path, 404]);
      expect(text).not.toContain("secret\n");
    }
    const sly = await ask("/runs/report?run=sly", { headers: bearer() });
    expect([sly.status, sly.text]).toEqual([400, expect.stringContaining("<p>")]);
    const settings = { model: "hf://a/m" };
    for (const name of ["../up", "/etc/x", "a/b", "..", ".hidden", "", "a".repeat(101), "C:\\x"]) {
      const answer = await ask("/api/runs", { method: "POST", headers: bearer(), body: { name, settings } });
      expect([name, answer.status]).toEqual([name, 400]);
    }
    expect(puppets).toEqual([]);
  });

  test("takes no more than a form holds, and JSON only", async () => {
    const large = { name: "x".repeat(2 ** 19), settings: {} };
    const headers = bearer();
    expect((await ask("/api/runs", { method: "POST", headers, body: large })).status).toBe(413);
    const text = await ask("/api/runs", { method: "POST", headers });
    expect([text.status, text.text]).toEqual([400, expect.stringContaining("expected JSON")]);
  });
});

describe("runs", () => {
  test("are listed with what came out; what cannot be read says why", async () => {
    const { runs, live, directory } = await state();
    expect([live, directory]).toEqual([null, join(root(), "runs")]);
    expect(runs.map(({ id, state: is }) => `${id} ${is}`).sort()).toEqual([
      "broken damaged",
      "first finished",
      "nested/second finished",
      "sly finished",
    ]);
    const first = runs.find(({ id }) => id === "first")!;
    expect(first).toMatchObject({
      base: "models/web",
      how: "GPrune on flap-wifv, recovery lstsq",
      note: null,
    });
    expect(first.outcome).toMatchObject({ removed: 0.398, parameters: { before: 5000, after: 2900 } });
    expect(first.outcome!.perplexity!.dense).toBeCloseTo(Math.sqrt(110), 10);
    expect(first.outcome!.perplexity!.pruned).toBeCloseTo(Math.sqrt(15 * 17), 10);
    expect(first.settings).not.toHaveProperty("output");
    expect(runs.find(({ id }) => id === "nested/second")!.how).toBe("given plan, recovery lstsq");
    expect(runs.find(({ id }) => id === "broken")!.note).toContain("run.json");
  });

  test("have reports, and comparisons of two or more", async () => {
    const headers = bearer();
    expect((await ask("/runs/report?run=nested/second", { headers })).text).toContain("<title>nested/second");
    const both = await ask("/runs/compare?run=first&run=nested/second", { headers });
    expect([both.status, both.text]).toEqual([200, expect.stringContaining("Comparison of 2 pruning runs")]);
    const one = await ask("/runs/compare?run=first", { headers });
    expect([one.status, one.text]).toEqual([
      400,
      expect.stringContaining("<p>compare: expected 2 to 12 runs"),
    ]);
    expect(one.headers["content-security-policy"]).toMatch(/^default-src 'none'/);
    expect((await ask("/runs/compare?run=first&run=other", { headers })).status).toBe(404);
  });

  test("start from a form, are followed live, and stop", async () => {
    const post = (path: string, body: unknown): Promise<Answered> =>
      ask(path, { method: "POST", headers: bearer(), body });
    const wrong = await post("/api/runs", { name: "new", settings: { ...SETTINGS, sparsity: 2 } });
    expect([wrong.status, wrong.text]).toEqual([400, expect.stringContaining("sparsity")]);
    const asked = { name: "new", settings: { ...SETTINGS, output: "/tmp/x" } };
    expect((await post("/api/runs", asked)).status).toBe(202);
    const [puppet] = puppets as [Puppet];
    expect(puppet).toMatchObject({
      resume: false,
      config: { model: "hf://a/m", output: join(root(), "runs", "new") },
    });
    const twice = await post("/api/runs", { name: "other", settings: SETTINGS });
    expect([twice.status, twice.text]).toEqual([
      409,
      expect.stringContaining("expected no run in progress, got new"),
    ]);

    const events = follow();
    const { listener } = puppet;
    listener.onProgress({ stage: "calibrate", done: 5, total: 10, unit: "tokens", detail: "layer 1/2" });
    listener.onMemory(1000);
    await events.until(({ live }) => live?.stages[0]?.done === 5);
    listener.onMemory(400);
    listener.onProgress({ stage: "calibrate", done: 10, total: 10, unit: "tokens" });
    for (const round of [1, 2]) {
      const values = [{ name: "web", value: 4 - round }];
      listener.onProgress({ stage: `learn ${round}/2`, done: 3, total: 3, unit: "tokens", values });
    }
    listener.onText("hello\n");
    const { live } = await events.until(({ live: run }) => run?.log.length === 1);
    expect(live).toMatchObject({
      id: "new",
      state: "running",
      memory: { now: 400, peak: 1000 },
      curves: [
        {
          stage: "learn",
          name: "web",
          points: [
            [1, 3],
            [2, 2],
          ],
        },
      ],
      log: ["hello"],
    });
    expect(live!.stages.map(({ name, ended }) => `${name} ${ended}`)).toEqual([
      "calibrate true",
      "learn 1/2 true",
      "learn 2/2 true",
    ]);
    expect((await post("/api/stop", {})).status).toBe(202);
    await events.until(({ live: run }) => run?.state === "stopped");
    expect(puppet.stops).toBe(1);
    expect((await post("/api/stop", {})).status).toBe(404);
    events.close();
  });

  test("say why they failed", async () => {
    await ask("/api/runs", { method: "POST", headers: bearer(), body: { name: "bad", settings: SETTINGS } });
    const problem = { code: "NOT_FOUND", message: "hf://a/m: expected a model", hint: null };
    puppets.at(-1)!.end({ state: "failed", problem });
    const events = follow();
    expect((await events.until(({ live }) => live?.state === "failed")).live!.failure).toEqual(problem);
    events.close();
  });
});

describe("serveUi", () => {
  test("needs a directory and a free port", async () => {
    const nowhere = serveUi({ directory: join(root(), "none"), start });
    await expect(nowhere).rejects.toMatchObject({ code: "NOT_FOUND" });
    const taken = serveUi({ directory: root(), start, port: server.port });
    await expect(taken).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringContaining("--port"),
    });
    await expect(serveUi({ directory: root(), start, port: 70_000 })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringContaining("--port: expected a free port, got 70000"),
    });
  });

  test("says what to do when the page is not built", async () => {
    const bare = await serveUi({ directory: root(), start, page: join(root(), "none") });
    const answer = await fetch(bare.address);
    expect([answer.status, await answer.text()]).toEqual([404, expect.stringContaining("npm run build")]);
    await bare.close();
  });
});

/** Follows the server's events as the page does. */
function follow(): { until(is: (state: UiState) => boolean): Promise<UiState>; close(): void } {
  const states: UiState[] = [];
  let changed: () => void = () => {};
  const sent = request(
    { host: "127.0.0.1", port: server.port, path: "/api/events", headers: bearer() },
    (response) => {
      let rest = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        const blocks = (rest + part).split("\n\n");
        rest = blocks.pop()!;
        for (const block of blocks) {
          const [event, data] = block.split("\n");
          expect(event).toBe("event: state");
          states.push(JSON.parse(data!.slice("data: ".length)) as UiState);
          changed();
        }
      });
    },
  );
  // Closing the request is not an error here.
  sent.on("error", () => {});
  sent.end();
  return {
    until: (is) =>
      new Promise((resolve) => {
        changed = () => {
          const found = states.findLast(is);
          if (found !== undefined) resolve(found);
        };
        changed();
      }),
    close: () => void sent.destroy(),
  };
}
