/** Client for GGUF files in llama.cpp, on the CPU. */
import { getLlama, NoBinaryFoundError } from "node-llama-cpp";
import { answerCases, greedy } from "./program.ts";

/** llama.cpp rounds keys and values to float16 unless told otherwise. */
const EXACT = {
  flashAttention: false,
  experimentalKvCacheKeyType: "F32",
  experimentalKvCacheValueType: "F32",
};

/** Loaded once: every loading tests the binary in a process of its own. */
let llama;

async function open({ path, ids, tokens, exact, threads }) {
  llama ??= await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({
    contextSize: ids.length + tokens,
    ...(threads === null ? {} : { threads }),
    ...(exact ? EXACT : {}),
  });
  const sequence = context.getSequence();
  return {
    tokenize: (text) => model.tokenize(text),
    async logits(all) {
      await sequence.clearHistory();
      const input = all.map((token) => [token, { generateNext: { logits: true } }]);
      const rows = await sequence.controlledEvaluate(input);
      return Float32Array.from(rows.flatMap(({ next }) => inOrder(next.logits)));
    },
    async generate(prompt, count) {
      await sequence.clearHistory();
      return greedy(step, prompt, count);
    },
    async close() {
      await context.dispose();
      await model.dispose();
    },
  };

  async function step(prompt) {
    const last = prompt.length - 1;
    const input = prompt.map((token, i) => (i === last ? [token, { generateNext: { token: true } }] : token));
    const answers = await sequence.controlledEvaluate(input);
    return answers[last].next.token;
  }
}

/** Logits in the order of token ids; llama.cpp gives them sorted by value. */
function inOrder(logits) {
  const row = new Array(logits.size);
  for (const [token, logit] of logits) row[token] = logit;
  return row;
}

await answerCases(open, { isUnavailable: (error) => error instanceof NoBinaryFoundError });
process.exit(0);
