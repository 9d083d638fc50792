/** Checks that a requested device is present and computes, and chooses a fallback when it does not. */
import { requireOneOf } from "../../base/arguments.ts";
import { GpruneError } from "../../errors.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import {
  CPU,
  DEVICE_DTYPES,
  DEVICE_NAMES,
  type Device,
  type DeviceDtype,
  type DeviceName,
  deviceText,
} from "./device.ts";
import { Runtime } from "./runtime.ts";

/** A requested device and number format. */
export interface DeviceRequest {
  readonly device: DeviceName;
  readonly deviceDtype: DeviceDtype;
  /** Whether to fail rather than fall back to another device or number format. */
  readonly requireDevice: boolean;
}

/** The requested device and the one that is used. */
export interface DeviceFound {
  readonly asked: Device;
  readonly used: Device;
  /** Why the requested device is not used; null when it is. */
  readonly problem: string | null;
}

/** Requirements of each device, for messages. */
const NEEDS: Readonly<Record<DeviceName, string>> = {
  cpu: "",
  webgpu: "WebGPU needs a graphics driver with Vulkan (Linux), Metal (macOS) or Direct3D 12 (Windows)",
  cuda: "CUDA needs Linux on x86-64, CUDA 12, cuDNN 9 and ONNX Runtime's CUDA files (ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js)",
};

/**
 * The requested device if it computes; else the same device in float32, else the CPU, with the reason.
 * @throws GpruneError UNSUPPORTED when a required device cannot be used, BAD_ARGUMENT for an unknown device or number
 *   format
 */
export async function findDevice({
  device,
  deviceDtype,
  requireDevice,
}: DeviceRequest): Promise<DeviceFound> {
  requireOneOf("device", device, DEVICE_NAMES);
  requireOneOf("deviceDtype", deviceDtype, DEVICE_DTYPES);
  const asked: Device = { name: device, dtype: deviceDtype };
  if (device === "cpu") {
    if (deviceDtype === "f32") return { asked, used: CPU, problem: null };
    if (requireDevice) throw new GpruneError("UNSUPPORTED", HALF_ON_CPU);
    return { asked, used: CPU, problem: HALF_ON_CPU };
  }
  const candidates = [asked, ...(deviceDtype === "f32" ? [] : [{ ...asked, dtype: "f32" } as const])];
  const problems: string[] = [];
  for (const used of candidates) {
    const problem = await problemOf(used);
    if (problem === null) return { asked, used, problem: problems[0] ?? null };
    if (requireDevice) throw requirementError(problem, device);
    problems.push(problem);
  }
  return { asked, used: CPU, problem: `${problems.at(-1)}. ${NEEDS[device]}` };
}

const HALF_ON_CPU = "the CPU computes only in f32";

function requirementError(problem: string, device: DeviceName): GpruneError {
  return new GpruneError("UNSUPPORTED", problem, {
    hint: `${NEEDS[device]}. Without --require-device, the CPU is used instead.`,
  });
}

/** One line for the user: `PROBLEM; computing on cpu in place of webgpu`; null when there is no problem. */
export function fallbackText({ asked, used, problem }: DeviceFound): string | null {
  return problem === null
    ? null
    : `${problem}; computing on ${deviceText(used)} instead of ${deviceText(asked)}`;
}

/** Tolerance of the check: float16 rounding with a margin. */
const TOLERANCE = 1e-2;

/** Why a device cannot be used; null when it can. A small product with a weight must come out right. */
async function problemOf(device: Device): Promise<string | null> {
  const runtime = new Runtime({ device, threads: 1 });
  try {
    const weights = { weight: { shape: [2, 3], data: Float32Array.of(1, 0.5, -1, 0.25, -2, 1) } };
    runtime.keep(weights);
    const program = await runtime.program("check", () => {
      const b = new GraphBuilder();
      const x = b.input("x", ["M", 3]);
      b.output("y", b.matmul(x, b.input("weight", ["N", 3]), { transB: true }));
      return b.finish();
    });
    const { y } = await program.run({ ...weights, x: { shape: [1, 3], data: Float32Array.of(1, 2, 3) } });
    const expected = [-1, -0.75];
    const isRight = expected.every((value, i) => Math.abs(y!.data[i]! - value) < TOLERANCE);
    return isRight ? null : `${deviceText(device)}: expected ${expected}, got ${[...y!.data]}`;
  } catch (error) {
    if (!(error instanceof GpruneError)) throw error;
    return plainReason(error.message);
  } finally {
    await runtime.close();
  }
}

/** Strips the source location that ONNX Runtime's messages begin with, and a final full stop. */
function plainReason(message: string): string {
  return message
    .replace(/\/\S*\.cc:\d+ .* was false\. /, "")
    .replace(/Non-zero status code .* Status Message: (\S+\.cc:\d+ \w+ )?/, "")
    .replaceAll(/\s+/g, " ")
    .replace(/[. ]+$/, "");
}
