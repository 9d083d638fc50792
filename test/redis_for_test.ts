/** A Redis server for one test; apart from redis_server.ts, which benchmarks use outside of vitest. */
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryDirectory } from "./directories.ts";
import { RedisServer } from "./redis_server.ts";

/**
 * A server and a directory beside its files, both gone when the test is over; what was begun later ends before them.
 */
export async function redisForTest(): Promise<{ readonly server: RedisServer; readonly root: string }> {
  const root = await temporaryDirectory();
  const server = await RedisServer.start(join(root, "server"));
  onTestFinished(() => server.kill());
  return { server, root };
}
