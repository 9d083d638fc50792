/** Scaled rotary embeddings end to end: logits of transformers for the same weights. */
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Decoding, loadDecoder } from "../src/evaluate/decoding.ts";
import { exportGguf } from "../src/export/gguf.ts";
import { exportHuggingFace } from "../src/export/hf.ts";
import { exportOnnx } from "../src/export/onnx.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import { temporaryDirectory } from "./directories.ts";
import { maxDifference } from "./numbers.ts";
import { OnnxDecoder } from "./onnx_session.ts";
import { runModel } from "./run_model.ts";
import { type TinyModelOptions, tinyModel } from "./tiny_model.ts";

const IDS = [3, 1, 14, 7, 5, 9, 2, 11, 6, 15, 4, 8];

interface Case {
  readonly options: TinyModelOptions;
  /** Last logits by number of tokens, from transformers 5.24.0 in float32 on the output of `exportHuggingFace`. */
  readonly expected: Readonly<Record<number, readonly number[]>>;
  /** Logits after all tokens when the second half is decoded token by token; as `expected` when absent. */
  readonly cached?: readonly number[];
  /** Whether GGUF can store it. */
  readonly gguf: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  "YaRN with settings of its own": {
    options: withRope({
      theta: 100,
      rotaryDim: 8,
      scaling: {
        type: "yarn",
        factor: 4,
        originalMaxPositions: 16,
        attentionFactor: 1.3,
        betaFast: 2,
        betaSlow: 0.5,
        truncate: false,
      },
    }),
    expected: {
      8: [
        1.148612, -0.982593, 0.287322, 1.222986, 0.365034, -0.438903, 0.194996, -0.695239, -1.585301,
        1.384012, -0.354709, 0.442873, -1.118144, -0.465094, 0.358538, -2.401031,
      ],
      12: [
        -1.368492, 1.332095, 0.889912, -0.486934, 0.997213, -0.474912, -0.246066, -1.551228, 2.285778,
        -1.226602, 0.592216, 1.761384, 0.510588, -1.47966, -0.263758, 1.222365,
      ],
    },
    gguf: false,
  },
  "LongRoPE, short and long": {
    options: withRope({
      theta: 100,
      rotaryDim: 8,
      scaling: {
        type: "longrope",
        shortFactors: [1.1, 1.2, 1.3, 1.4],
        longFactors: [1.5, 2, 4, 8],
        originalMaxPositions: 8,
        attentionFactor: Math.SQRT2,
      },
    }),
    expected: {
      8: [
        1.025858, -0.97552, 0.050175, 0.998038, 0.369282, -0.26067, 0.264826, -0.731441, -1.397035, 1.326455,
        -0.453278, 0.500579, -1.127098, -0.658006, 0.117473, -2.104485,
      ],
      12: [
        -0.77673, 1.76683, 1.328069, -0.197717, 0.562422, -0.836369, -0.544978, -1.213174, 1.587062,
        -1.931876, 1.319667, 1.108337, 0.965171, -1.210474, 0.18686, 1.06032,
      ],
    },
    gguf: true,
  },
  "dynamic scaling": {
    options: {
      ...withRope({
        theta: 100,
        rotaryDim: 8,
        scaling: { type: "dynamic", factor: 4, originalMaxPositions: 8 },
      }),
      maxPositions: 32,
    },
    expected: {
      8: [
        0.755888, -0.749348, 0.043528, 0.972725, 0.453682, -0.163629, 0.249132, -0.970051, -0.92733, 1.063191,
        -0.36697, 0.746051, -1.015971, -0.902705, 0.126951, -1.899367,
      ],
      12: [
        -1.66507, 1.318848, 0.743091, -0.367659, 0.931808, -0.309203, -0.208269, -1.673785, 2.536295,
        -1.164126, 0.3709, 1.816159, 0.474102, -1.226765, -0.02429, 1.297194,
      ],
    },
    cached: [
      -1.723185, 1.1712, 0.801524, -0.387956, 1.042713, -0.318001, -0.121332, -1.721165, 2.640503, -1.178353,
      0.395044, 1.831865, 0.390215, -1.23317, -0.041141, 1.352716,
    ],
    gguf: false,
  },
  "LongRoPE on a part of the heads of a Phi-3": {
    options: {
      ...withRope({
        theta: 100,
        rotaryDim: 6,
        scaling: {
          type: "longrope",
          shortFactors: [1.1, 1.2, 1.3],
          longFactors: [1.5, 2, 4],
          originalMaxPositions: 8,
          attentionFactor: Math.SQRT2,
        },
      }),
      family: "phi3",
      extra: { pad_token_id: 0 },
    },
    expected: {
      8: [
        0.805839, -0.479017, 0.502563, 1.140934, 0.581817, -0.515573, 0.011227, -0.881701, -0.966513, 1.09452,
        -0.106641, 0.905498, -0.82049, -0.798832, 0.335471, -2.231081,
      ],
      12: [
        -2.682225, 1.986855, -0.341586, -0.604404, 0.84868, 0.022168, -1.036713, 0.234712, 2.118944, 0.331097,
        -0.054812, 2.257017, 1.056793, 0.66485, 0.630821, 1.044592,
      ],
    },
    gguf: false,
  },
};

function withRope(rope: NonNullable<TinyModelOptions["layers"]>[number]["rope"]): TinyModelOptions {
  return { headDim: 8, layers: [{ rope: rope! }, { rope: rope! }] };
}

describe.each(Object.entries(CASES))("%s", (_, { options, expected, cached, gguf }) => {
  const runtime = new Runtime({ threads: 1 });
  afterAll(() => runtime.close());
  const model = tinyModel(options);
  const lengths = Object.keys(expected).map(Number);

  async function expectLogits(of: (ids: readonly number[]) => Promise<Float32Array>): Promise<void> {
    for (const length of lengths) {
      const logits = await of(IDS.slice(0, length));
      const last = expected[length]!;
      expect(maxDifference(logits.subarray(-last.length), last), `${length} tokens`).toBeLessThan(1e-5);
    }
  }

  async function ours(of: Model): Promise<void> {
    const runner = new DecoderRunner(of, runtime);
    await expectLogits(async (ids) => (await runModel(runner, [Int32Array.from(ids)])).logits);
  }

  test("gives transformers' logits", () => ours(model));

  test("goes on with a cache as with the whole text, or as transformers does where that is something else", async () => {
    const decoding = new Decoding(await loadDecoder(new DecoderRunner(model, runtime)), 1);
    let last = await decoding.append(Int32Array.from(IDS.slice(0, 6)));
    for (const id of IDS.slice(6)) last = await decoding.append(Int32Array.of(id));
    expect(maxDifference(last.data, cached ?? expected[IDS.length]!)).toBeLessThan(1e-5);
  });

  test("gives them when it is read back from a checkpoint, or from a GGUF file where that holds it", async () => {
    const directory = await temporaryDirectory();
    const paths = [join(directory, "hf"), ...(gguf ? [join(directory, "out.gguf")] : [])];
    await exportHuggingFace(model, paths[0]!);
    if (gguf) await exportGguf(model, paths[1]!);
    for (const path of paths) {
      const opened = await openModel(path);
      // A model from GGUF has null for missing special tokens.
      const noIds = { bos_token_id: null, eos_token_id: null, pad_token_id: null };
      const extra = path.endsWith(".gguf") ? { ...noIds, ...model.spec.extra } : model.spec.extra;
      expect(opened.spec).toEqual({ ...model.spec, extra });
      await ours(opened);
      await opened.weights.close();
    }
  });

  test("gives them in ONNX Runtime", async () => {
    const directory = join(await temporaryDirectory(), "out");
    await exportOnnx(model, directory);
    const decoder = await OnnxDecoder.open(join(directory, "onnx", "model.onnx"));
    await expectLogits((ids) => {
      decoder.reset();
      return decoder.step({ ids: [ids] });
    });
    if (cached !== undefined) {
      decoder.reset();
      let last = await decoder.step({ ids: [IDS.slice(0, 6)] });
      for (const id of IDS.slice(6)) last = await decoder.step({ ids: [[id]] });
      expect(maxDifference(last, cached)).toBeLessThan(1e-5);
    }
    await decoder.close();
  });
});
