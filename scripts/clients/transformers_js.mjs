/** Client for ONNX exports in transformers.js. */
import "../../src/graph/runtime/no_telemetry.ts";
import { basename, dirname } from "node:path";
import { AutoModelForCausalLM, AutoTokenizer, BaseStreamer, env, Tensor } from "@huggingface/transformers";
import { answerCases } from "./program.ts";

env.allowRemoteModels = false;

async function open({ path, ids, tokens, text, exact, threads }) {
  env.localModelPath = dirname(path);
  const options = threads === null ? {} : { session_options: { intraOpNumThreads: threads } };
  const model = await AutoModelForCausalLM.from_pretrained(basename(path), options);
  const tokenizer = text === null ? null : await AutoTokenizer.from_pretrained(basename(path));
  return {
    tokenize: (all) => tokenizer.encode(all, { add_special_tokens: false }),
    async logits(all) {
      const { logits } = await model(feeds([all]));
      return logits.data;
    },
    async generate(prompt, count) {
      const streamer = new Clock();
      const [generated] = await continuations(model, { prompts: [prompt], tokens: count, streamer });
      const [start, first] = streamer.times;
      const end = streamer.times.at(-1);
      return { generated, promptSeconds: (first - start) / 1000, decodeSeconds: (end - first) / 1000 };
    },
    problems: (generated) => (exact ? paddingProblems(model, ids, { tokens, generated }) : []),
    close: () => model.dispose(),
  };
}

/** Greedy continuations of prompts as one batch; EOS does not end them. */
async function continuations(model, { prompts, tokens, streamer }) {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const sequences = await model.generate({
    ...feeds(prompts),
    max_new_tokens: tokens,
    do_sample: false,
    eos_token_id: null,
    ...(streamer === undefined ? {} : { streamer }),
  });
  return sequences.tolist().map((row) => row.slice(longest).map(Number));
}

/** Token ids of prompts padded on the left, and their attention mask. */
function feeds(prompts) {
  const longest = Math.max(...prompts.map(({ length }) => length));
  const padded = (value) =>
    prompts.flatMap((ids) => [...new Array(longest - ids.length).fill(0), ...ids.map(value)]);
  const tensor = (values) =>
    new Tensor("int64", BigInt64Array.from(values, BigInt), [prompts.length, longest]);
  return { input_ids: tensor(padded((id) => id)), attention_mask: tensor(padded(() => 1)) };
}

/** Checks that prompts are continued alike in a batch, where one of them is padded, and alone. */
async function paddingProblems(model, ids, { tokens, generated }) {
  const short = ids.slice(0, Math.ceil(ids.length / 2));
  const [alone] = await continuations(model, { prompts: [short], tokens });
  const batch = await continuations(model, { prompts: [ids, short], tokens });
  const same = JSON.stringify(batch) === JSON.stringify([generated, alone]);
  return same ? [] : ["a batch padded on the left is continued otherwise than its prompts alone"];
}

/** Records the times at which the prompt and every token after it arrive. */
class Clock extends BaseStreamer {
  times = [];

  put() {
    this.times.push(performance.now());
  }

  end() {}
}

await answerCases(open);
