/**
 * HTTP server of the local page: hono on the loopback interface, JSON and server-sent events. guard.ts decides which
 * requests are allowed.
 */
import { createServer, type Server } from "node:http";
import { join, resolve } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import { packageDirectory } from "../base/package.ts";
import { runConfigJsonSchema } from "../config.ts";
import { GpruneError } from "../errors.ts";
import { kindOfPath, readSmallFile } from "../io/files/file.ts";
import { requireReadable } from "../io/files/listing.ts";
import { METRICS } from "../score/registry.ts";
import { problemAnswer } from "./answers.ts";
import type { Problem } from "./api.ts";
import { guardOf, newToken, REPORT_POLICY } from "./guard.ts";
import { problemOf, Runs } from "./runs.ts";
import type { StartRun } from "./start_run.ts";

/** Options of {@link serveUi}. */
export interface UiOptions {
  /** Directory in which runs are listed and made. */
  readonly directory: string;
  readonly start: StartRun;
  /** 0, the default, for any free port. */
  readonly port?: number;
  /** Directory of the built page; the package's dist/page when absent. */
  readonly page?: string;
}

/** A listening server. */
export interface UiServer {
  /** URL of the page with the token. */
  readonly address: string;
  readonly token: string;
  readonly port: number;
  /** Stops the current run so that it can be resumed, then the server. */
  close(): Promise<void>;
}

/** The only interface it listens on. */
const HOST = "127.0.0.1";
const MAX_BODY_BYTES = 2 ** 18;
const MAX_ASSET_BYTES = 2 ** 24;
/** Milliseconds between two snapshots of a run, and between two looks at an unchanged directory. */
const LIVE_INTERVAL = 200;
const LIST_INTERVAL = 4000;

/** Content types by file extension. */
const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

/** HTTP status by error code; 500 for others. */
const STATUS = {
  BAD_ARGUMENT: 400,
  BAD_CONFIG: 400,
  BAD_FILE: 400,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  LOCKED: 409,
} as const;

/**
 * Starts the server.
 * @throws GpruneError NOT_FOUND or FORBIDDEN when the directory cannot be read, BAD_ARGUMENT for a used port
 */
export async function serveUi({ directory, start, port = 0, page }: UiOptions): Promise<UiServer> {
  const root = resolve(directory);
  if ((await kindOfPath(root)) !== "directory") {
    throw new GpruneError("NOT_FOUND", `${directory}: expected a directory, got none`);
  }
  await requireReadable(root);
  const token = newToken();
  const runs = new Runs(root, start);
  let listening = port;
  const app = appOf({
    runs,
    token,
    port: () => listening,
    page: page ?? join(packageDirectory(), "dist", "page"),
  });
  const server = await listen(app, port);
  listening = portOf(server);
  return {
    address: `http://${HOST}:${listening}/?token=${token}`,
    token,
    port: listening,
    close: async () => {
      await runs.close();
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

interface AppParts {
  readonly runs: Runs;
  readonly token: string;
  readonly port: () => number;
  readonly page: string;
}

function appOf({ runs, token, port, page }: AppParts): Hono {
  const guard = guardOf(token, port);
  const app = new Hono();
  app.use(guard.everything);
  app.get("/", guard.entrance, (c) => asset(c, page, "index.html"));
  app.get("/assets/:name{[A-Za-z0-9_-]+[.](?:js|css|svg)}", (c) =>
    asset(c, join(page, "assets"), c.req.param("name")),
  );
  app.use("/api/*", guard.secrets);
  app.use("/runs/*", guard.secrets);
  app.use("/api/*", bodyLimit({ maxSize: MAX_BODY_BYTES }));
  app.get("/api/state", async (c) => c.json(await runs.state()));
  app.get("/api/schema", (c) => c.json(formSchema()));
  app.get("/api/events", (c) => streamSSE(c, (stream) => sendStates(stream, runs)));
  const accepts = (path: string, change: (body: unknown) => void | Promise<void>): void => {
    app.post(path, async (c) => {
      await change(await c.req.json());
      return c.json({ ok: true }, 202);
    });
  };
  accepts("/api/runs", (body) => runs.start(body));
  accepts("/api/resume", (body) => runs.resume(body));
  accepts("/api/stop", () => runs.stop());
  app.get("/runs/report", async (c) => document(c, await runs.report(c.req.query("run") ?? "")));
  app.get("/runs/compare", async (c) => document(c, await runs.comparison(c.req.queries("run") ?? [])));
  app.notFound((c) => {
    return problemAnswer(
      c,
      { code: "NOT_FOUND", message: "address: expected a page of gprune, got another", hint: null },
      404,
    );
  });
  app.onError((error, c) => {
    if (error instanceof SyntaxError) {
      return problemAnswer(c, badBody("expected JSON, got something else"), 400);
    }
    if (error instanceof HTTPException) {
      return problemAnswer(
        c,
        badBody(`expected at most ${MAX_BODY_BYTES / 1024} KiB, got more`),
        error.status,
      );
    }
    const problem = problemOf(error);
    return problemAnswer(c, problem, STATUS[problem.code as keyof typeof STATUS] ?? 500);
  });
  return app;
}

function badBody(what: string): Problem {
  return { code: "BAD_ARGUMENT", message: `body: ${what}`, hint: null };
}

/** JSON Schema of a run configuration, with the names of metrics from the registry. */
function formSchema(): unknown {
  const schema = runConfigJsonSchema() as { readonly properties: Record<string, Record<string, unknown>> };
  const named = (choose: (input: string) => boolean): string[] =>
    METRICS.filter(({ input }) => choose(input)).map(({ name }) => name);
  const { metric, fallback } = schema.properties;
  const properties = {
    ...schema.properties,
    metric: { ...metric, enum: named(() => true) },
    fallback: { ...fallback, enum: named((input) => input === "weights") },
  };
  return { ...schema, properties };
}

/** Sends the state at once, after every change of the current run, and when the directory has changed. */
async function sendStates(stream: SSEStreamingApi, runs: Runs): Promise<void> {
  let wake: () => void = () => {};
  let isChanged = true;
  const forget = runs.onChange(() => {
    isChanged = true;
    wake();
  });
  stream.onAbort(() => wake());
  let last = "";
  try {
    while (!stream.aborted && !stream.closed) {
      isChanged = false;
      const state = JSON.stringify(await runs.state());
      if (state !== last) await stream.writeSSE({ event: "state", data: state });
      last = state;
      await stream.sleep(LIVE_INTERVAL);
      if (isChanged || stream.aborted) continue;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LIST_INTERVAL);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } finally {
    forget();
  }
}

async function asset(c: Context, directory: string, name: string): Promise<Response> {
  const path = join(directory, name);
  if ((await kindOfPath(path)) !== "file") {
    const hint = "Run `npm run build` in the source checkout.";
    return c.json({ code: "NOT_FOUND", message: `${name}: expected the built page, got none`, hint }, 404);
  }
  const type = TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream";
  return c.body(Uint8Array.from(await readSmallFile(path, MAX_ASSET_BYTES)).buffer, 200, {
    "Content-Type": type,
  });
}

function document(c: Context, html: string): Response {
  c.header("Content-Security-Policy", REPORT_POLICY);
  // A sandboxed page has an opaque origin, which cannot be in this server's opener group.
  c.header("Cross-Origin-Opener-Policy", "unsafe-none");
  return c.html(html);
}

function listen(app: Hono, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: NodeJS.ErrnoException): void => {
      const message = `--port: expected a free port, got ${port} (${cause.code})`;
      reject(
        new GpruneError("BAD_ARGUMENT", message, { hint: "Leave --port out to use any free port.", cause }),
      );
    };
    const answer = getRequestListener(app.fetch);
    const server = createServer((request, response) => {
      // The listener cannot answer requests without a path, such as `OPTIONS *`.
      if (!/^(\/|https?:)/.test(request.url ?? "")) return response.writeHead(400).end();
      return answer(request, response);
    });
    try {
      server.once("error", refuse);
      server.listen(port, HOST, () => resolve(server));
    } catch (cause) {
      // A number outside the range of ports throws.
      refuse(cause as NodeJS.ErrnoException);
    }
  });
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
