import { Hono } from "hono";
import { expect, test } from "vitest";
import { guardOf } from "./guard.ts";

/** Status of a request with these headers to a server at a port. */
async function statusOf(port: number, headers: Readonly<Record<string, string>>): Promise<number> {
  const app = new Hono();
  app.use(guardOf("token", () => port).everything);
  app.get("/", (c) => c.text("page"));
  return (await app.request("/", { headers })).status;
}

test("at the port that browsers leave out, hosts and origins without one are this server's", async () => {
  for (const host of ["127.0.0.1", "localhost", "127.0.0.1:80"]) {
    expect(await statusOf(80, { Host: host, Origin: `http://${host}` })).toBe(200);
    expect(await statusOf(80, { Host: host, Origin: "http://elsewhere" })).toBe(403);
  }
  expect(await statusOf(80, { Host: "elsewhere" })).toBe(421);
  expect(await statusOf(8080, { Host: "127.0.0.1" })).toBe(421);
});
