/** A PostgreSQL server for tests, which can be killed, restarted and paused. */
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { freePort, hasEnded } from "./redis_server.ts";

/** Directory of the programs in Debian's package, by version. */
const INSTALLED = "/usr/lib/postgresql";
/** User that Debian's package creates for the server, which refuses to run as root. */
const USER = "postgres";
/** Attempts to start a server that exits before it answers. */
const STARTS = 40;

/** Directory of the newest version's programs; null when this machine has none. */
const programs: string | null = newestPrograms();

function newestPrograms(): string | null {
  if (!existsSync(INSTALLED)) return null;
  const versions = readdirSync(INSTALLED).sort((a, b) => Number(b) - Number(a));
  const found = versions.find((version) => existsSync(join(INSTALLED, version, "bin", "postgres")));
  return found === undefined ? null : join(INSTALLED, found, "bin");
}

/** Whether PostgreSQL is installed. */
export const hasPostgres: boolean = programs !== null;

/** User that the server runs as; empty for the current user. */
function owner(): { readonly uid?: number; readonly gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => Number(execFileSync("id", [flag, USER], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

export class PostgresServer {
  readonly url: string;
  readonly #port: number;
  readonly #directory: string;
  readonly #owner = owner();
  #process: ChildProcess | null = null;

  private constructor(port: number, directory: string) {
    this.#port = port;
    this.#directory = directory;
    this.url = `postgres://tester@127.0.0.1:${port}/postgres`;
  }

  /**
   * Makes a database and starts a server on it.
   * @param directory - created; all users must have access to its parent
   */
  static async start(directory: string): Promise<PostgresServer> {
    const server = new PostgresServer(await freePort(), directory);
    mkdirSync(directory);
    const { uid, gid } = server.#owner;
    if (uid !== undefined && gid !== undefined) chownSync(directory, uid, gid);
    const settings = ["-D", directory, "-U", "tester", "-A", "trust", "--no-sync"];
    execFileSync(join(programs!, "initdb"), settings, { ...server.#owner, cwd: directory, stdio: "ignore" });
    await server.start();
    return server;
  }

  /** Starts the server. Retries while processes of a killed server still hold its shared memory. */
  async start(): Promise<void> {
    for (let attempt = 1; !(await this.#startOnce()); attempt++) {
      if (attempt === STARTS) throw new Error(`PostgreSQL ended ${STARTS} times: see ${this.#directory}/log`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  /** @returns false when the server has exited by itself */
  async #startOnce(): Promise<boolean> {
    const place = ["-D", this.#directory, "-p", String(this.#port), "-k", this.#directory];
    const log = openSync(join(this.#directory, "log"), "a");
    const options = { ...this.#owner, cwd: this.#directory, stdio: ["ignore", log, log] as StdioOptions };
    const server = spawn(join(programs!, "postgres"), place, options);
    closeSync(log);
    this.#process = server;
    while (!(await this.#answers())) {
      if (hasEnded(server)) return false;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return true;
  }

  /** Kills the server, as a power failure would. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = null;
    if (process === null || hasEnded(process)) return;
    const gone = once(process, "exit");
    this.#signal(process, "SIGKILL");
    await gone;
  }

  pause(): void {
    this.#signal(this.#process!, "SIGSTOP");
  }

  resume(): void {
    this.#signal(this.#process!, "SIGCONT");
  }

  /** Sends a signal to the server and to the processes of its connections. */
  #signal(server: ChildProcess, signal: NodeJS.Signals): void {
    const children = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && parentOf(pid) === server.pid);
    server.kill(signal);
    for (const pid of children) {
      try {
        process.kill(Number(pid), signal);
      } catch {
        // It has exited meanwhile.
      }
    }
  }

  async #answers(): Promise<boolean> {
    const client = new pg.Client({ connectionString: this.url });
    client.on("error", () => {});
    try {
      await client.connect();
      return true;
    } catch {
      return false;
    } finally {
      await client.end().catch(() => {});
    }
  }
}

/** Parent process, from /proc (proc(5)); undefined for a process that has exited. */
function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(join("/proc", pid, "stat"), "utf8");
    // The name before the last parenthesis may hold anything.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}
