/** Whether the device that was asked for is there and computes, and what is used when it is not. */
import { requireOneOf } from "../../base/arguments.ts";
import { GpruneError } from "../../errors.ts";
import { GraphBuilder } from "../ir/graph.ts";
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

/** What was asked for. */
export interface DeviceRequest {
  readonly device: DeviceName;
  readonly deviceDtype: DeviceDtype;
  /** Whether anything else will do. */
  readonly requireDevice: boolean;
}

/** What was asked for beside what is used. */
export interface DeviceFound {
  readonly asked: Device;
  /** Where the work is done. */
  readonly used: Device;
  /** Why that is not what was asked for; null when it is. */
  readonly problem: string | null;
}

/** What each device needs. */
const NEEDS: Readonly<Record<DeviceName, string>> = {
  cpu: "",
  webgpu: "WebGPU needs a graphics driver with Vulkan (Linux), Metal (macOS) or Direct3D 12 (Windows)",
  cuda: "CUDA needs Linux on x86-64, CUDA 12, cuDNN 9 and ONNX Runtime's CUDA files (ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node)",
};

/**
 * The device that is asked for; without it the CPU, or in place of half precision float32, and the reason.
 * @throws GpruneError UNSUPPORTED when nothing else will do, BAD_ARGUMENT for a device or a number format that is not
 * known
 */
export async function findDevice({
  device,
  deviceDtype,
  requireDevice,
}: DeviceRequest): Promise<DeviceFound> {
  requireOneOf("device", device, DEVICE_NAMES);
  requireOneOf("deviceDtype", deviceDtype, DEVICE_DTYPES);
  const asked: Device = { name: device, dtype: deviceDtype };
  const candidates = [asked, ...(deviceDtype === "f32" ? [] : [{ ...asked, dtype: "f32" } as const])];
  const problems: string[] = [];
  if (device === "cpu") {
    if (deviceDtype === "f32") return { asked, used: CPU, problem: null };
    if (requireDevice) throw new GpruneError("UNSUPPORTED", HALF_ON_CPU);
    return { asked, used: CPU, problem: HALF_ON_CPU };
  }
  for (const used of candidates) {
    const problem = await problemOf(used);
    if (problem === null) return { asked, used, problem: problems[0] ?? null };
    if (requireDevice) throw missing(problem, device);
    problems.push(problem);
  }
  return { asked, used: CPU, problem: `${problems.at(-1)}. ${NEEDS[device]}` };
}

const HALF_ON_CPU = "the CPU computes in f32 alone";

function missing(problem: string, device: DeviceName): GpruneError {
  return new GpruneError("UNSUPPORTED", problem, {
    hint: `${NEEDS[device]}. Without --require-device the CPU computes instead.`,
  });
}

/** One line for people: `no webgpu: REASON; computing on cpu`; null when the device is what was asked for. */
export function fallbackText({ asked, used, problem }: DeviceFound): string | null {
  return problem === null
    ? null
    : `${problem}; computing on ${deviceText(used)} in place of ${deviceText(asked)}`;
}

/** Rounding of float16, with room. */
const LARGEST_ERROR = 1e-2;

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
    const right = expected.every((value, i) => Math.abs(y!.data[i]! - value) < LARGEST_ERROR);
    return right ? null : `${deviceText(device)}: expected ${expected}, got ${[...y!.data]}`;
  } catch (error) {
    if (!(error instanceof GpruneError)) throw error;
    return plainReason(error.message);
  } finally {
    await runtime.close();
  }
}

/** ONNX Runtime's messages begin with the place in its source that noticed, and may end in a full stop. */
function plainReason(message: string): string {
  return message
    .replace(/\/\S*\.cc:\d+ .* was false\. /, "")
    .replace(/Non-zero status code .* Status Message: (\S+\.cc:\d+ \w+ )?/, "")
    .replaceAll(/\s+/g, " ")
    .replace(/[. ]+$/, "");
}
