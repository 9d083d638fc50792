/** The thread that renders templates for render.ts. It answers for each record of a lot, up to the first that fails. */
import { parentPort, workerData } from "node:worker_threads";
import { reasonOf } from "../errors.ts";
import { compileChat } from "./chat.ts";
import type { RenderAnswer, RenderRequest } from "./render.ts";
import { compileTemplate } from "./template.ts";

const { dialect, templates } = workerData as RenderRequest;
const send = (answer: RenderAnswer): void => parentPort?.postMessage(answer);
const compile = dialect === "chat" ? compileChat : compileTemplate;
const renderers = Object.entries(templates).map(([name, text]) => {
  let render: ((record: unknown) => string) | undefined;
  return {
    name,
    render: (record: unknown): string => {
      render ??= compile(text);
      return render(record);
    },
  };
});

function answerFor(record: unknown): RenderAnswer {
  const texts: Record<string, string> = {};
  for (const { name, render } of renderers) {
    try {
      texts[name] = render(record);
    } catch (error) {
      return { template: name, problem: reasonOf(error) };
    }
  }
  return { texts };
}

parentPort?.on("message", (records: readonly unknown[]) => {
  for (const record of records) {
    const answer = answerFor(record);
    send(answer);
    if ("problem" in answer) return;
  }
});
