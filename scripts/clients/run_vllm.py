"""Client for Hugging Face directories in vLLM on the CPU; see program.ts."""

import gc
import os
import time

os.environ.update(HF_HUB_OFFLINE="1", VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR", VLLM_CPU_KVCACHE_SPACE="1")

import numpy
from program import answer_cases
from vllm import LLM, SamplingParams


def greedy(model, ids, tokens, **wanted):
    sampling = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True, detokenize=False, **wanted)
    return model.generate({"prompt_token_ids": ids}, sampling, use_tqdm=False)[0]


def logits_of(output):
    """Logits [T, V]: vLLM gives those of the last prompt token with the generated token, the others with the prompt."""
    rows = [*output.prompt_logprobs[1:], output.outputs[0].logprobs[0]]
    return numpy.array([[row[token].logprob for token in range(len(row))] for row in rows], dtype=numpy.float32)


def seconds(model, ids, tokens):
    start = time.perf_counter()
    output = greedy(model, ids, tokens)
    return time.perf_counter() - start, output.outputs[0].token_ids


def answer(case):
    model = LLM(
        model=case["path"],
        skip_tokenizer_init=case["text"] is None,
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=len(case["ids"]) + case["tokens"],
        max_num_seqs=1,
        max_logprobs=-1,
        logprobs_mode="raw_logits",
        trust_remote_code=case["remoteCode"],
        model_impl="transformers" if case["stockBackend"] else "auto",
    )
    ids = case["ids"]
    tokenized = None if case["text"] is None else model.get_tokenizer().encode(case["text"], add_special_tokens=False)
    logits = logits_of(greedy(model, ids, 1, prompt_logprobs=-1, logprobs=-1))
    if case["logits"] is not None:
        logits.tofile(case["logits"])
    prompt_seconds, _ = seconds(model, ids, 1)
    all_seconds, generated = seconds(model, ids, case["tokens"])
    del model
    gc.collect()
    return {
        "id": case["id"],
        "tokenized": tokenized,
        "generated": list(generated),
        "promptSeconds": prompt_seconds,
        "decodeSeconds": all_seconds - prompt_seconds,
        "problems": [],
    }


if __name__ == "__main__":
    answer_cases(answer)
