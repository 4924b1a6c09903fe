"""A real vLLM with the built-in model, on a GPU or a CPU: prints what it did with two temperatures as JSON."""

import json

from vllm import LLM, SamplingParams

from trl_forking.countdown import ASSETS, MAX_COMPLETION_LENGTH, make_countdown_dataset


PROCESSOR = "trl_forking.decoding.vllm:ForkTemperatureLogitsProcessor"
TEMPERATURES = (0.7, 1.0, 1.5)


def build_extra(fork: float, other: float) -> dict:
    return {"fork_threshold": 0.5, "fork_temperature": fork, "other_temperature": other}


def main() -> None:
    engine = LLM(
        str(ASSETS),
        dtype="float32",
        enforce_eager=True,
        max_model_len=96,
        max_num_seqs=16,  # less than there are prompts: rows are given up, taken and moved all the time
        gpu_memory_utilization=0.2,
        enable_prefix_caching=False,
        logits_processors=[PROCESSOR],
    )
    prompts = list(make_countdown_dataset("eval", num_problems=40, seed=0)["prompt"])

    def sample(temperature: float = 1.0, extras: list[dict | None] | None = None) -> list[list[int]]:
        params = [
            SamplingParams(temperature=temperature, max_tokens=MAX_COMPLETION_LENGTH, seed=row, extra_args=extra)
            for row, extra in enumerate(extras or [None] * len(prompts))
        ]
        return [list(answer.outputs[0].token_ids) for answer in engine.generate(prompts, params, use_tqdm=False)]

    def find_refusal(temperature: float, extra: dict) -> str:
        try:
            engine.generate(prompts[:1], SamplingParams(temperature=temperature, extra_args=extra), use_tqdm=False)
        except Exception as error:  # ValueError, or from some version on an error of vLLM's own
            return str(error)
        return ""

    refusals = [  # first, since the engine has to survive them
        find_refusal(1.0, {"fork_threshold": 0.5}),
        find_refusal(1.0, build_extra(-1.0, 1.0)),
        find_refusal(0.0, build_extra(2.0, 1.0)),
    ]
    plain = {temperature: sample(temperature) for temperature in TEMPERATURES}
    mixed = [(None, build_extra(0.7, 0.7), build_extra(1.5, 1.5))[row % 3] for row in range(len(prompts))]
    two = sample(extras=[build_extra(1.0, 1.5)] * len(prompts))
    results = {
        "runner": "V2" if getattr(engine.llm_engine.vllm_config, "use_v2_model_runner", False) else "V1",
        "equal": [sample(extras=[build_extra(t, t)] * len(prompts)) == plain[t] for t in TEMPERATURES],
        "mixed": sample(extras=mixed) == [plain[(1.0, 0.7, 1.5)[row % 3]][row] for row in range(len(prompts))],
        "two_differ": two != plain[1.0] and two != plain[1.5],
        "refusals": refusals,
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
