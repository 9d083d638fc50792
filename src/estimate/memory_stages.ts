/**
 * Memory of every stage of a run, from the shapes of the model, the settings and the number of tokens. The estimate
 * errs upwards: the pruned widths are not known yet, so every layer counts with its dense width, and new weights count
 * with as many as the sparsity can leave. Biases that recovery adds are not counted.
 */
import { hasOwnText } from "../calibrate/text_sets.ts";
import { HELD_OUT_WINDOWS } from "../calibrate/windows.ts";
import { SLOPE_ROUNDS } from "../gprune/gprune.ts";
import type { BackwardProgram } from "../graph/decoder/programs.ts";
import { BASE_BYTES, type Places, RunSizes } from "./memory_sizes.ts";
import {
  calibrates,
  distills,
  hasStatistics,
  learns,
  measuredTokens,
  type PlannedRun,
  refinesWidths,
  refitsOutputs,
  withTrainingWindows,
} from "./planned_run.ts";
import type { Items } from "./refit_sizes.ts";

/** Items in bytes of every stage that the run has, by stage. */
export function stageItems(run: PlannedRun, places: Places): Readonly<Record<string, Items>> {
  const stages = STAGES.filter(({ runs }) => runs(run));
  const sizes = ({ sees = (same) => same }: Stage): RunSizes => new RunSizes(sees(run), places);
  return Object.fromEntries(stages.map((stage) => [stage.name, present(stage.items(sizes(stage)))]));
}

interface Stage {
  readonly name: string;
  readonly runs: (run: PlannedRun) => boolean;
  /** The run with the stage's windows; absent where these are the calibration windows. */
  readonly sees?: (run: PlannedRun) => PlannedRun;
  readonly items: (sizes: RunSizes) => Items;
}

const withWindows = (run: PlannedRun, samples: number, tokens = run.tokens): PlannedRun => {
  return { ...run, tokens, config: { ...run.config, samples } };
};

/** Calibration measures the windows for least squares as well. */
const withMeasuredWindows = (run: PlannedRun): PlannedRun => {
  const { samples, refitSamples } = run.config;
  const most = refitsOutputs(run) ? Math.max(hasStatistics(run) ? samples : 0, refitSamples) : samples;
  return withWindows(run, most, measuredTokens(run));
};

/** Slopes are measured on the windows of several rounds. */
const withSlopeWindows = (run: PlannedRun): PlannedRun => {
  const gradientWindows = SLOPE_ROUNDS * run.config.gradientWindows;
  return { ...run, config: { ...run.config, gradientWindows } };
};

/** Memory of the layers' forward and backward pass, without the data kept between them. */
const layersBack = (run: RunSizes, program: BackwardProgram): Items => ({
  ...run.passingBack(program),
  "hidden states": run.lotHidden,
});

/** Memory of the head's backward pass from the loss, without the data kept for the layers. */
const lossBackward = (run: RunSizes): Items => ({
  ...run.head("lossBackward"),
  ...run.known,
  "hidden states": 2 * run.lotHidden,
});

const STAGES: readonly Stage[] = [
  {
    name: "tokenize",
    runs: ({ encodingBytes }) => encodingBytes > 0,
    items: (run) => run.encoding,
  },
  {
    name: "own text",
    runs: ({ config }) => hasOwnText(config),
    // The head has one row of each window, so its activations are small beside a layer's.
    items: (run) => ({ ...run.head("logits"), ...run.decoding }),
  },
  {
    name: "calibrate",
    runs: calibrates,
    sees: withMeasuredWindows,
    items: (run) => ({ ...run.measuring, "hidden states": run.hidden }),
  },
  {
    name: "learn",
    runs: learns,
    items: (run) => ({ ...run.withKept(layersBack(run, "backward")), gates: run.gates }),
  },
  {
    name: "head",
    runs: learns,
    items: (run) => run.withKept(lossBackward(run)),
  },
  {
    name: "refine",
    runs: refinesWidths,
    // Plus those of the layer that is being solved.
    items: (run) => ({
      ...run.solvingAlternatives,
      alternatives: run.alternatives + run.refits.layerAlternatives,
    }),
  },
  {
    name: "slopes",
    runs: refinesWidths,
    sees: withSlopeWindows,
    items: (run) => ({
      ...run.withKept(layersBack(run, "slopes")),
      gates: run.gates,
      alternatives: run.alternatives + run.refits.changes,
    }),
  },
  {
    name: "slopes: head",
    runs: refinesWidths,
    sees: withSlopeWindows,
    items: (run) => ({ ...run.withKept(lossBackward(run)), alternatives: run.alternatives }),
  },
  {
    name: "curves",
    runs: ({ allocation, tokens }) => tokens > 0 && allocation === "curves",
    items: (run) => ({
      ...run.passing(["gram"]),
      "hidden states": run.hidden,
      // Sums of both spaces in float64; covariance, products and interactions of the larger one in float32.
      "Gram matrices": 8 * run.channels.reduce((total, n) => total + n ** 2, 0) + 16 * run.widest ** 2,
    }),
  },
  {
    name: "refit",
    runs: refitsOutputs,
    items: (run) => ({ ...run.solving, "refitted weights": run.refitted }),
  },
  {
    name: "distill",
    runs: distills,
    sees: withTrainingWindows,
    items: (run) => ({ ...run.passingBack("train"), ...run.training }),
  },
  {
    name: "distill head",
    runs: distills,
    sees: withTrainingWindows,
    items: (run) => ({ ...run.head("divergenceBackward"), ...run.known, ...run.training }),
  },
  {
    name: "check",
    runs: ({ checks }) => checks,
    sees: (run) => withWindows(run, Math.max(run.config.samples, HELD_OUT_WINDOWS)),
    items: (run) => ({ ...run.passing(["forward"]), "new weights": run.newWeights }),
  },
  {
    name: "score",
    runs: ({ checks }) => checks,
    sees: (run) => withWindows(run, Math.max(run.config.samples, HELD_OUT_WINDOWS)),
    items: (run) => ({ ...run.head("loss"), ...run.known, "new weights": run.newWeights }),
  },
  {
    name: "save",
    runs: () => true,
    items: (run) => ({
      base: BASE_BYTES,
      "one tensor": run.writing,
      ...run.known,
      "new weights": run.newWeights,
    }),
  },
];

function present(items: Items): Items {
  return Object.fromEntries(
    Object.entries(items)
      .filter(([, bytes]) => bytes > 0)
      .map(([name, bytes]) => [name, Math.round(bytes)]),
  );
}
