import { createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { reachServer } from "./queue_server.ts";

/** Starts a TCP server. @returns its address */
async function listening(onConnection: (socket: Socket) => void): Promise<string> {
  const server = createServer(onConnection);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  onTestFinished(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return `127.0.0.1:${address.port}`;
}

test("says why a Redis server that hangs up on other machines may do so", async () => {
  const address = await listening((socket) => socket.end("-DENIED Redis is running in protected mode.\r\n"));
  await expect(reachServer(`redis://guest:secret@${address}`)).rejects.toMatchObject({
    code: "QUEUE_FAILED",
    message: expect.stringMatching(/^redis:\/\/127\.0\.0\.1:\d+: expected a Redis server, got (?!.*secret)/),
    hint: expect.stringContaining("protected-mode no"),
  });
});

test("asks to start a server that is not there", async () => {
  await expect(reachServer("redis://127.0.0.1:1")).rejects.toMatchObject({
    code: "QUEUE_FAILED",
    hint: expect.stringContaining("Start the server"),
  });
});

test("asks to check the address where the server refuses", async () => {
  const address = await listening((socket) => {
    const answers = (commands: string): number => commands.match(/^\*/gm)?.length ?? 0;
    socket.on("data", (data) => socket.write("-NOAUTH refused\r\n".repeat(answers(`${data}`))));
  });
  await expect(reachServer(`redis://${address}`)).rejects.toMatchObject({
    code: "QUEUE_FAILED",
    hint: expect.stringContaining("refuses: check user, password"),
  });
});

test("refuses addresses of other protocols", async () => {
  await expect(reachServer("amqp://guest:secret@host")).rejects.toMatchObject({
    code: "BAD_ARGUMENT",
    message:
      "queue server: expected redis://HOST[:PORT][/DB] or postgres://[USER@]HOST[:PORT]/DATABASE, got amqp://host",
  });
});

test.each([
  ["redis://guest:sec/ret@127.0.0.1:1", "redis://..."],
  ["postgres://guest:sec?ret@127.0.0.1:1/queue", "postgres://..."],
  ["postgres://127.0.0.1:1/queue?user=guest&password=secret", "postgres://127.0.0.1:1/queue"],
  ["redis://127.0.0.1:1/2?password=sec@ret", "redis://127.0.0.1:1/2"],
  ["guest:sec/ret@127.0.0.1", "..."],
  ["127.0.0.1", "127.0.0.1"],
])("says nothing of a password, wherever it stands: %s", async (address, shown) => {
  const { message } = await reachServer(address).then(Promise.reject, (error: Error) => error);
  expect(message.startsWith(`${shown}: `) || message.endsWith(`, got ${shown}`)).toBe(true);
  expect(message).not.toMatch(/sec|ret/);
});
