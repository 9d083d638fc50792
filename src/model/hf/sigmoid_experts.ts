/** Experts that are picked as those of GLM-4.5, with its keys. */
export const SIGMOID_EXPERTS = {
  count: "n_routed_experts",
  alias: "num_local_experts",
  defaults: { count: 128, active: 8, normalised: true, sigmoid: true, divisor: { plus: 1e-20 } },
  normalises: true,
  corrects: "always",
  scales: "routed_scaling_factor",
  groups: { usual: [1, 1], best: 2 },
} as const;
