import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, onTestFinished, test } from "vitest";
import { threadTime } from "./thread_time.ts";

/** Computes until the process has used the given seconds of processor time. */
function compute(seconds: number): void {
  const start = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(start);
    if (user + system >= seconds * 1e6) return;
  }
}

/** An idle thread that answers a message with seconds once it has computed for that long. */
async function startThread(): Promise<Worker> {
  const code = `${compute}
    const { parentPort } = require("node:worker_threads");
    parentPort.on("message", (seconds) => {
      compute(seconds);
      parentPort.postMessage("done");
    });`;
  const thread = new Worker(code, { eval: true });
  onTestFinished(async () => void (await thread.terminate()));
  thread.postMessage(0);
  await once(thread, "message");
  return thread;
}

test("a thread that computes is measured, also while it does", async () => {
  const thread = await startThread();
  const time = threadTime(thread);
  thread.postMessage(1000);
  while (time() < 0.1) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(threadTime(thread)()).toBeLessThan(0.1);
});

test("one that waits has computed nothing, however much the process does", async () => {
  const time = threadTime(await startThread());
  compute(0.4);
  expect(time()).toBeLessThan(0.1);
});
