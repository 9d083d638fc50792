import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { readAll } from "../../../test/golden_model.ts";
import { randomTensor } from "../../../test/tiny_model.ts";
import { writeSafetensors } from "../../io/formats/safetensors_writer.ts";
import { openModel } from "./checkpoint.ts";

const GOLDEN = join(import.meta.dirname, "../../../test/golden/glm4_moe");

test.each(["num_nextn_predict_layers", "num_mtp_modules"])(
  "layers that %s of config.json counts apart, as they predict further tokens, are left out and named",
  async (key) => {
    const directory = await temporaryDirectory();
    const extra = ["eh_proj", "mlp.experts.0.up_proj"].map((part) => `model.layers.3.${part}.weight`);
    const tensors = new Map([
      ...(await readAll(join(GOLDEN, "model.safetensors"))),
      ...extra.map((name) => [name, randomTensor([8, 16])] as const),
    ]);
    const written = Array.from(tensors, ([name, tensor]) => {
      return { name, shape: tensor.shape, dtype: "F32", read: async () => tensor } as const;
    });
    await writeSafetensors(directory, written);
    const { num_nextn_predict_layers: _, ...config } = JSON.parse(
      await readFile(join(GOLDEN, "config.json"), "utf8"),
    );
    const count = (layers: unknown): Promise<void> =>
      writeFile(join(directory, "config.json"), JSON.stringify({ ...config, [key]: layers }));
    await count(1);
    const opened = await openModel(directory);
    expect(opened.spec.layers).toHaveLength(3);
    expect(opened.unusedTensors).toEqual(extra);
    await opened.weights.close();
    for (const other of [0, undefined, "1"]) {
      await count(other);
      await expect(openModel(directory)).rejects.toMatchObject({ code: "BAD_CONFIG" });
    }
  },
);
