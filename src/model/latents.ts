/** Models with latent attention (latent_spec.ts). */
import type { LatentSpec } from "./latent_spec.ts";
import { mainRope } from "./rope_layers.ts";
import { type RopeScaling, yarnAttentionFactor } from "./rope_spec.ts";
import type { ModelSpec } from "./spec.ts";

/** The spec with latents. @param headDim - H */
export function withLatents(spec: ModelSpec, latent: LatentSpec, headDim: number): ModelSpec {
  return { ...spec, headDim, latent, attentionScale: headDim ** -0.5 * sharpening(mainRope(spec)?.scaling) };
}

/** The factor on scores that `mscale_all_dim` of YaRN gives (`yarn_apply_mscale` of modeling_deepseek_v3.py). */
export function sharpening(scaling: RopeScaling | null | undefined): number {
  return scaling?.type === "yarn" ? yarnAttentionFactor(scaling.factor, scaling.allDim ?? 0) ** 2 : 1;
}
