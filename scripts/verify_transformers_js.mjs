/**
 * Whether transformers.js continues a prompt as gprune does: 20 greedy tokens of a directory that
 * `gprune export --format onnx` wrote, and of the model it came from. Fails when they differ (with --lenient it only
 * says so, for formats of few bits), and when a batch padded on the left is continued otherwise than its prompts alone.
 *
 * Usage: npm run build && node scripts/verify_transformers_js.mjs MODEL EXPORTED [--lenient]
 * TRANSFORMERS_JS names a directory where `npm install @huggingface/transformers@4.3.1` was run; here when absent.
 */
import { createRequire } from "node:module";
import { basename, dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { DecoderRunner, generate, openModel, Runtime, Tokenizer } from "../dist/index.js";

const PROMPTS = ["The capital of France is", "Once upon a time, in a village far away, there lived"];
const TOKENS = 20;

const [modelPath, exported, mode] = process.argv.slice(2);
const require = createRequire(resolve(process.env.TRANSFORMERS_JS ?? ".", "package.json"));
const { env, pipeline } = await import(pathToFileURL(require.resolve("@huggingface/transformers")).href);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(exported));

const expected = await continuations();
const generator = await pipeline("text-generation", basename(resolve(exported)));
const options = { max_new_tokens: TOKENS, do_sample: false, return_full_text: false };
let failed = false;
const alone = [];
const started = performance.now();
for (const [index, prompt] of PROMPTS.entries()) {
  const [{ generated_text: text }] = await generator(prompt, options);
  alone.push(text);
  report(`alone ${index}`, { text, wanted: expected[index], fails: mode !== "--lenient" });
}
const seconds = (performance.now() - started) / 1000;
const batch = await generator(PROMPTS, options);
for (const [index, [{ generated_text: text }]] of batch.entries()) {
  report(`padded batch ${index}`, { text, wanted: alone[index], fails: true });
}
console.log(`${((PROMPTS.length * TOKENS) / seconds).toFixed(1)} tokens/s, prompts included`);
await generator.dispose();
process.exitCode = failed ? 1 : 0;

/** What gprune generates, without tokens that end a text. */
async function continuations() {
  const model = await openModel(modelPath);
  const tokenizer = Tokenizer.fromFiles(model.files);
  const runtime = new Runtime();
  const runner = new DecoderRunner(model, runtime);
  const texts = [];
  for (const prompt of PROMPTS) {
    const ids = tokenizer.encode(prompt);
    const start = tokenizer.addsBos ? Int32Array.of(tokenizer.bosId, ...ids) : ids;
    const stopIds = tokenizer.eosIds;
    texts.push(tokenizer.decode(await generate(runner, start, { maxTokens: TOKENS, stopIds })));
  }
  await runtime.close();
  await model.weights.close();
  return texts;
}

function report(what, { text, wanted, fails }) {
  const same = text === wanted;
  console.log(`${same ? "same   " : "DIFFERS"} ${what}: ${JSON.stringify(text)}`);
  if (!same) console.log(`  expected: ${JSON.stringify(wanted)}`);
  if (!same && fails) failed = true;
}
