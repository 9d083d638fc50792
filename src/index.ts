/**
 * The public API of gprune. `prune` does the whole job. Its stages are exported too, each a function from plain values
 * to plain values, so that a program can replace one of them.
 *
 * ```ts
 * import { prune } from "gprune";
 *
 * const { sparsity, widths } = await prune({
 *   model: "SmolLM2-135M",
 *   output: "SmolLM2-135M-pruned",
 *   sparsity: 0.3,
 *   calibration: [{ name: "web", path: "web.txt" }, { name: "code", path: "code.jsonl" }],
 * });
 * ```
 *
 * Errors in the input are thrown as {@link GpruneError} with a stable `code`. Nothing writes to the console, except for
 * a line from ONNX Runtime itself when WebGPU finds no driver.
 *
 * @packageDocumentation
 */

// Words of settings, versions, progress
export {
  ALLOCATION_NAMES,
  type AllocationName,
  BIAS_CHOICES,
  type BiasChoice,
  DTYPE_CHOICES,
  type DTypeChoice,
  GGUF_CHOICES,
  type GgufDType,
  METHODS,
  type Method,
  ONNX_CHOICES,
  type OnnxDType,
  OWN_TEXT_CHOICES,
  type OwnTextChoice,
  RECOVERIES,
  type RecoveryName,
  SHAPES,
  type Shape,
} from "./base/choices.ts";
export { versions } from "./base/package.ts";
export type { NamedValue, OnProgress, ProgressEvent, Reporting } from "./base/progress.ts";
// Stages and their checkpoints
export { type Checkpoints, NO_STAGES, type Stages } from "./base/stages.ts";
// Calibration
export {
  type Activations,
  type CalibrateOptions,
  type CalibrationState,
  calibrate,
  type MeasuredSet,
  measureActivations,
  type TokenSet,
  type WeightedTokenSet,
} from "./calibrate/calibrate.ts";
export {
  type Evidence,
  type Gathered,
  type GatheringOptions,
  gatherEvidence,
  poolEvidence,
  type SplitEvidence,
} from "./calibrate/evidence.ts";
export { type GateGradientOptions, gateGradients, type WindowGradients } from "./calibrate/gate_gradients.ts";
export {
  type GateStats,
  type GateStatsOptions,
  type GateStatsState,
  gateStatistics,
  mergeGateStats,
  poolGateStats,
  type UnitGateStats,
} from "./calibrate/gate_stats.ts";
export type { Moments, SpaceMoments } from "./calibrate/moments.ts";
export type {
  LossRequest,
  MadeModel,
  ModelRecipe,
  Passes,
  PassesBase,
} from "./calibrate/passes.ts";
export {
  type ChangedModel,
  type ChangeNames,
  type ChangeSlopes,
  changeNames,
  type SlopeOptions,
  type SlopeStats,
  slopeStatistics,
} from "./calibrate/slopes.ts";
export { type CalibrationStats, type ChannelStats, mergeStats, poolStats } from "./calibrate/stats.ts";
export { type NamedText, parseTextSet, type TextSet } from "./calibrate/text_sets.ts";
export type { LotsState, WindowSums } from "./calibrate/window_lots.ts";
export {
  cutWindows,
  type DecidingSet,
  decidingSet,
  learnable,
  loadTokenSet,
  type SampledSet,
  type SamplingOptions,
  type SetUse,
} from "./calibrate/windows.ts";
// Configuration
export {
  type ConfigSource,
  formatRunConfig,
  parseRunConfig,
  type RunConfig,
  type RunConfigInput,
  type RunSettings,
  resolveRunConfig,
  runConfigJsonSchema,
  type SettledConfig,
} from "./config.ts";
export { type DryRun, type DryRunOptions, dryRun, type TimeHere } from "./dry_run.ts";
// Errors
export {
  type ErrorCode,
  type ErrorDetails,
  type ErrorWords,
  GpruneError,
  type PlainError,
} from "./errors.ts";
// Estimates
export type { MemoryPlan } from "./estimate/memory_plan.ts";
export type { Places } from "./estimate/memory_sizes.ts";
export type { Items } from "./estimate/refit_sizes.ts";
export type { TimePlan } from "./estimate/time_plan.ts";
// Evaluation
export { type ComparedModel, compareModels } from "./evaluate/compare.ts";
export {
  type ComparedText,
  compareOnWindows,
  type Divergence,
  incomparable,
} from "./evaluate/divergence.ts";
export {
  type ComparedEvaluation,
  type EvaluateOptions,
  type Evaluation,
  evaluate,
  evaluateTogether,
  type FromFirst,
} from "./evaluate/evaluate.ts";
export { type FewShot, type ShotDocument, withShots } from "./evaluate/few_shot.ts";
export { continuationText, type GenerateOptions, generate, promptTokens } from "./evaluate/generate.ts";
export {
  type GeneratedTextOptions,
  type GeneratedTextState,
  generateTexts,
} from "./evaluate/generated_texts.ts";
export type { HeldOutScore } from "./evaluate/held_out.ts";
export { type Inspection, inspectModel } from "./evaluate/inspect.ts";
export { type Latency, type LatencyMemory, type LatencyOptions, measureLatency } from "./evaluate/latency.ts";
export { type Continuation, type LogLikelihood, logLikelihoods } from "./evaluate/log_likelihood.ts";
export type { MaterialOptions, TaskShots } from "./evaluate/material.ts";
export { meanPerplexity, perplexity, type TextScore } from "./evaluate/perplexity.ts";
export { asChats, asTexts, type ChatOptions } from "./evaluate/prompts.ts";
export type { Candidate, TaskDocument } from "./evaluate/task_documents.ts";
export { readTask } from "./evaluate/task_file.ts";
export { type EncodedDocument, encodeDocument, scoreTask, type TaskScore } from "./evaluate/tasks.ts";
// Export
export { type ForeseenRun, foreseeSupport } from "./export/foresee.ts";
export { type ExportGgufOptions, exportGguf, type GgufExport } from "./export/gguf.ts";
export { type ExportOptions, exportHuggingFace } from "./export/hf.ts";
export { exportOnnx, type OnnxExportOptions } from "./export/onnx.ts";
export { type LoadingFacts, type ProgramSupport, programSupport } from "./export/program_support.ts";
export type { SpaceAnalysis } from "./gprune/analysis.ts";
// The method
export type { Consensus } from "./gprune/consensus.ts";
export { decideGprune, type GpruneDecision, type GpruneRequest } from "./gprune/gprune.ts";
export type { Round } from "./gprune/learned.ts";
export {
  measureSensitivity,
  type SensitivityReport,
  type SensitivityRequest,
} from "./gprune/measure_sensitivity.ts";
export type { CountEvidence } from "./gprune/module_count.ts";
export type { BehaviourModule, UnitModules } from "./gprune/modules.ts";
export type { ModuleOrder } from "./gprune/ordering.ts";
export type { ModuleVerdict, SetReliability, Verdict } from "./gprune/reliability.ts";
export type { Sensitivity } from "./gprune/sensitivity.ts";
export type { SensitivitySummary, SpaceSensitivity } from "./gprune/sensitivity_summary.ts";
export type { WidthMove } from "./gprune/width_moves.ts";
// Decoder, graphs and runtime
export {
  DecoderRunner,
  type LayerInput,
  type LoadedHead,
  type LoadedLayer,
  type Outputs,
} from "./graph/decoder/decoder_runner.ts";
export type { HeadProgram } from "./graph/decoder/head_programs.ts";
export type { LossSum } from "./graph/decoder/loss.ts";
export type { BackwardProgram, LayerProgram } from "./graph/decoder/programs.ts";
export type {
  Attribute as GraphAttribute,
  Body as GraphBody,
  Constant as GraphConstant,
  Graph,
  Node as GraphNode,
  Value as GraphValue,
  ValueType as GraphValueType,
} from "./graph/ir/graph.ts";
export type { Dim as GraphDim } from "./graph/ir/shapes.ts";
export type { Device, DeviceDtype, DeviceName } from "./graph/runtime/device.ts";
export { type DeviceFound, type DeviceRequest, findDevice } from "./graph/runtime/device_check.ts";
export { type MemoryPolicy, ROOMY } from "./graph/runtime/memory_policy.ts";
export {
  type DoubleTensor,
  type Feeds,
  type FilledProgram,
  type IntegerTensor,
  type Program,
  Runtime,
  type RuntimeOptions,
} from "./graph/runtime/runtime.ts";
// Files, hub and texts
export type { JsonValue } from "./io/files/json_document.ts";
export type { KeptFiles, WriteDirectory } from "./io/files/output_directory.ts";
export type { HubClientOptions } from "./io/hub/client.ts";
export type { HubOptions } from "./io/hub/hub.ts";
export { type Pushed, type PushOptions, pushDirectory } from "./io/hub/push.ts";
export type { Environment } from "./io/hub/settings.ts";
export type { Conversation, ConversationRenderer, Message } from "./io/texts/conversations.ts";
// Models
export { openModel } from "./model/checkpoint/checkpoint.ts";
export type { ExpertsSpec } from "./model/experts_spec.ts";
export type { LatentSpec } from "./model/latent_spec.ts";
export type {
  ActiveMixer,
  ConvolutionSpec,
  DeltaSpec,
  LinearAttentionSpec,
  Mamba2Spec,
  MixerSpec,
  NoMixer,
} from "./model/mixer_spec.ts";
export type { CarriedFile, Model, ModelOrigin } from "./model/model.ts";
export type { BlockMultipliers, MixerMultipliers } from "./model/multipliers_spec.ts";
export { parameterCount } from "./model/parameter_counts.ts";
export { PROJECTIONS, type Projection } from "./model/projections.ts";
export type {
  DynamicScaling,
  LinearScaling,
  Llama3Scaling,
  LongropeScaling,
  ProportionalScaling,
  RopeScaling,
  RopeSpec,
  YarnScaling,
} from "./model/rope_spec.ts";
export { prunableParameters, type Space, spacesOf } from "./model/spaces.ts";
export type {
  Activation,
  AttentionGates,
  KvSharing,
  LayerSpec,
  LearnedPositions,
  ModelSpec,
  NormParameters,
  NormPlacement,
  PerLayerInputs,
  QkNorm,
} from "./model/spec.ts";
export type { StreamUpdates } from "./model/stream_updates.ts";
export { chatPrompterOf, chatRendererOf } from "./model/tokenizer/chat_template.ts";
export { Tokenizer } from "./model/tokenizer/tokenizer.ts";
export { type Axis, type SpaceKind, type WeightSpec, weightsOf } from "./model/weights.ts";
// The whole path
export { type PruneOptions, prune } from "./pipeline.ts";
// Plans
export { ALLOCATIONS, allocationByName } from "./prune/allocate.ts";
export type { Allocation, AllocationRequest, RemovalRequest } from "./prune/allocation.ts";
export {
  achievedSparsity,
  composePlans,
  type Keep,
  keepAll,
  makePlan,
  type PlanBase,
  type PlanCheck,
  type PruningPlan,
  prunedSpec,
  validatePlan,
  type Widths,
  widths,
} from "./prune/plan.ts";
export { formatPlan, parsePlan } from "./prune/plan_json.ts";
export { applyPlan } from "./prune/surgery.ts";
// Recovery
export { type AdamMoments, AdamW } from "./recover/adamw.ts";
export type { Alternatives } from "./recover/alternatives.ts";
export { type Distilled, type DistillRequest, defaultLearningRate, distill } from "./recover/distill.ts";
export {
  type LeastSquaresRequest,
  type Refitted,
  refitLeastSquares,
} from "./recover/least_squares.ts";
export { compensateMeans } from "./recover/mean_compensation.ts";
export {
  type ConnectedPasses,
  type RefitRequest,
  type RemoteActivations,
  type RunPasses,
  runPasses,
} from "./recover/passes.ts";
export type { TrainingSnapshot, TrainingStep } from "./recover/training_state.ts";
// Reports
export { renderComparison } from "./report/comparison.ts";
export { renderReport } from "./report/report.ts";
export type { RunFiles } from "./report/report_data.ts";
export { readRun } from "./report/run_files.ts";
export type { RunRecord } from "./report/run_record.ts";
export type {
  SavedAccuracy,
  SavedEvaluation,
  SavedSettings,
  SavedTask,
  SavedText,
} from "./report/saved_evaluation.ts";
export type { PruneResult } from "./run/result.ts";
// Importance
export {
  type Importance,
  type ScoreInputs,
  type Scoring,
  scoreEach,
  scoreModel,
} from "./score/importance.ts";
export type {
  Metric,
  MetricInput,
  ScoringView,
  SetChannelStats,
  SetGateStats,
  WeightSide,
} from "./score/metric.ts";
export { METRICS, metricByName } from "./score/registry.ts";
// Tensors
export type { BlockLayout, BlockSource, BlockTensor } from "./tensor/blocks.ts";
export type { FloatDType } from "./tensor/dtype.ts";
export {
  type AnyTensor,
  type Scratch,
  type Stash,
  StoredFloats,
  type StoredTensor,
} from "./tensor/stash.ts";
export type { Spread } from "./tensor/statistics.ts";
export type { RowRange, Tensor, TensorInfo, TensorSource } from "./tensor/tensor.ts";
