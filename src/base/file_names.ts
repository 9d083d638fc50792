/** Names of the files that a run writes beside the model. */
export const RUN_FILES = {
  config: "gprune.yaml",
  plan: "plan.json",
  /** Loss curve of a distillation. */
  curve: "training.json",
  record: "run.json",
  report: "report.html",
  /** Written by `gprune eval --save`. */
  evaluation: "evaluation.json",
  /** Everything that the bytes of the output depend on. */
  facts: "facts.json",
} as const;
