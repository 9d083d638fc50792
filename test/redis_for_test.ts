/** A Redis server for one test. Not in redis_server.ts, since benchmarks use that without vitest. */
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryDirectory } from "./directories.ts";
import { RedisServer } from "./redis_server.ts";

/** Starts a server, and makes a directory. Both are removed when the test has finished, after later cleanups. */
export async function redisForTest(): Promise<{ readonly server: RedisServer; readonly root: string }> {
  const root = await temporaryDirectory();
  const server = await RedisServer.start(join(root, "server"));
  onTestFinished(() => server.kill());
  return { server, root };
}
