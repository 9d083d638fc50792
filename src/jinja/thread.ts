/** The program of the thread that renders templates for render.ts. It answers for each record, up to one that fails. */
import { parentPort, workerData } from "node:worker_threads";
import { compileChat } from "./chat.ts";
import type { RenderAnswer, RenderRequest } from "./render.ts";
import { compileTemplate } from "./template.ts";

const { dialect, templates, records } = workerData as RenderRequest;
const answer = (message: RenderAnswer): void => parentPort?.postMessage(message);
let record = 0;
try {
  const compiled = templates.map(dialect === "chat" ? compileChat : compileTemplate);
  for (; record < records.length; record++) {
    answer({ record, texts: compiled.map((render) => render(records[record])) });
  }
} catch (error) {
  answer({ record, problem: error instanceof Error ? error.message : String(error) });
}
