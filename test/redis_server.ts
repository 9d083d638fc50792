/** A Redis server for tests, which can be killed, restarted and paused. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { connect, createServer } from "node:net";

const PROGRAM = "redis-server";

/** Whether Redis is installed. */
export const hasRedis: boolean = spawnSync(PROGRAM, ["--version"]).status === 0;

export class RedisServer {
  readonly url: string;
  readonly #port: number;
  readonly #directory: string;
  #process: ChildProcess | null = null;

  private constructor(port: number, directory: string) {
    this.#port = port;
    this.#directory = directory;
    this.url = `redis://127.0.0.1:${port}`;
  }

  /** Starts a durable server, which syncs every write. @param directory - for its files, created */
  static async start(directory: string): Promise<RedisServer> {
    mkdirSync(directory);
    const server = new RedisServer(await freePort(), directory);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    const place = ["--port", String(this.#port), "--bind", "127.0.0.1", "--dir", this.#directory];
    const server = spawn(PROGRAM, [...place, ...durable], { stdio: "ignore" });
    this.#process = server;
    while (!(await answers(this.#port))) {
      if (hasEnded(server)) throw new Error(`${PROGRAM} ended with ${server.exitCode ?? server.signalCode}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Kills the server, as a power failure would. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = null;
    if (process === null || hasEnded(process)) return;
    const gone = once(process, "exit");
    process.kill("SIGKILL");
    await gone;
  }

  pause(): void {
    this.#process!.kill("SIGSTOP");
  }

  resume(): void {
    this.#process!.kill("SIGCONT");
  }
}

/** Whether a process has exited, by itself or by a signal. */
export function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** A free port. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? address!.port : 0;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.on("data", (data) => {
      socket.destroy();
      resolve(data.toString().startsWith("+PONG"));
    });
    socket.on("error", () => resolve(false));
  });
}
