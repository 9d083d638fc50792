/** The program of the thread that renders templates for render.ts. It answers for each record, up to one that fails. */
import { parentPort, workerData } from "node:worker_threads";
import { reasonOf } from "../errors.ts";
import { compileChat } from "./chat.ts";
import type { RenderAnswer, RenderRequest } from "./render.ts";
import { compileTemplate } from "./template.ts";

const { dialect, templates } = workerData as RenderRequest;
const answer = (message: RenderAnswer): void => parentPort?.postMessage(message);
let compiled: readonly ((record: unknown) => string)[] | undefined;
parentPort?.on("message", (records: readonly unknown[]) => {
  try {
    compiled ??= templates.map(dialect === "chat" ? compileChat : compileTemplate);
    for (const record of records) answer({ texts: compiled.map((render) => render(record)) });
  } catch (error) {
    answer({ problem: reasonOf(error) });
  }
});
