/**
 * Mean next-token loss, in nats, of the first tokens of texts in llama.cpp, to hold `gprune eval --limit 1` against.
 * node-llama-cpp is no dependency of ours, and a script finds packages beside itself, so:
 *
 *     mkdir /tmp/llama && cp scripts/llama-loss.mjs /tmp/llama && cd /tmp/llama
 *     npm i node-llama-cpp@3.22.1 --ignore-scripts
 *     node llama-loss.mjs MODEL.gguf 256 TEXT.txt...
 */
import { readFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const [modelPath, length, ...texts] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
const model = await llama.loadModel({ modelPath });
for (const path of texts) {
  const context = await model.createContext({ contextSize: Number(length) });
  const tokens = model.tokenize(readFileSync(path, "utf8")).slice(0, Number(length));
  const asked = tokens.map((token) => [token, { generateNext: { probabilities: true } }]);
  const answers = await context.getSequence().controlledEvaluate(asked);
  const losses = tokens
    .slice(1)
    .map((token, i) => -Math.log(answers[i].next.probabilities.get(token) ?? 1e-12));
  console.log(path, losses.reduce((sum, loss) => sum + loss, 0) / losses.length);
  await context.dispose();
}
process.exit(0);
