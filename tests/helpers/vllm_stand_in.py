"""A small engine in place of vLLM's. TRL's own `VLLMGeneration` and `VLLMClient` use it and run unchanged.

It replaces the names that TRL imports from vLLM. In colocate mode this is the class `LLM`. In server mode a server on
loopback replaces the HTTP server, and a queue replaces the NCCL group that carries the weights. The engine computes with
its own weights, which change only when TRL sends weights. So a missing synchronization shows in every log-probability.
"""

import json
import math
import os
import queue
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from trl.generation import vllm_client, vllm_generation

from helpers.tiny import NUM_GENERATIONS, PAD, build_answer, build_dataset, build_model, build_tokenizer, build_trainer


# vLLM's own classes, as far as TRL uses them. A keyword that they do not have here is a TypeError.


@dataclass
class Logprob:
    logprob: float
    rank: int


@dataclass
class CompletionOutput:
    index: int
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]


@dataclass
class SamplingParams:
    n: int
    repetition_penalty: float
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int
    logprobs: int | None


@cache
def _number_prompts() -> dict[tuple[int, ...], int]:
    prompts = build_tokenizer()(list(build_dataset()["prompt"]))["input_ids"]
    return {tuple(prompt): number for number, prompt in enumerate(prompts)}


class Engine:
    """
    A model of its own that answers prompts and says how probable its answers were.

    It begins with weights that no test trains. `noise` (nats) and `nan_share` distort the log-probabilities of an
    answer in a way that depends on nothing but prompt and answer; `overrides` sets single ones by (row of the call,
    position).
    """

    def __init__(self, seed: int = 0, uses_processed_logprobs: bool = True):
        with torch.random.fork_rng():
            self.model = build_model(seed=99).eval()
        self.seed, self.uses_processed_logprobs = seed, uses_processed_logprobs
        self.noise, self.nan_share, self.overrides = 0.0, 0.0, {}
        self.is_sampling = False  # or the fixed answers of tiny.py
        self.events: list[str] = []
        self.numbers = _number_prompts()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        parameters = dict(self.model.named_parameters())
        for name, weight in weights:
            assert parameters[name].shape == weight.shape, f"{name} came with the shape {tuple(weight.shape)}."
            parameters[name].data.copy_(weight)
        self._note("load")

    def generate(self, prompts: list[list[int]], params: SamplingParams) -> list[RequestOutput]:
        assert (params.top_p, params.top_k, params.min_p, params.repetition_penalty) == (1.0, 0, 0.0, 1.0)
        self.events.append("generate")
        repeated = [prompt for prompt in prompts for _ in range(params.n)]
        answers = self._sample(repeated, params) if self.is_sampling else self._replay(repeated)
        temperature = params.temperature if self.uses_processed_logprobs else 1.0
        logprobs = self.distort(repeated, answers, self.score(repeated, answers, temperature))
        outputs = [
            CompletionOutput(
                row % params.n,
                answer,
                [{token: Logprob(value, 1)} for token, value in zip(answer, values, strict=True)],
            )
            for row, (answer, values) in enumerate(zip(answers, logprobs, strict=True))
        ]
        return [
            RequestOutput(prompt, outputs[row * params.n : (row + 1) * params.n]) for row, prompt in enumerate(prompts)
        ]

    @torch.no_grad()
    def score(self, prompts: list[list[int]], answers: list[list[int]], temperature: float) -> list[list[float]]:
        """Log-probabilities of the answers under the engine's weights, all tokens of a row behind one another."""
        rows = [torch.tensor(prompt + answer) for prompt, answer in zip(prompts, answers, strict=True)]
        logits = self.model(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)).logits
        logps = (logits / temperature).log_softmax(-1)
        return [
            logps[row, range(len(prompt) - 1, len(prompt) + len(answer) - 1), answer].tolist()
            for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        ]

    def _replay(self, prompts: list[list[int]]) -> list[list[int]]:
        return [build_answer(self.numbers[tuple(ids)], row % NUM_GENERATIONS) for row, ids in enumerate(prompts)]

    def _sample(self, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
        batch = build_tokenizer().pad({"input_ids": prompts}, return_tensors="pt")
        settings = {"do_sample": True, "top_k": 0, "temperature": params.temperature}
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + 1000 * self.events.count("generate"))
            sampled = self.model.generate(**batch, max_new_tokens=params.max_tokens, **settings)
        answers = sampled[:, batch["input_ids"].size(1) :].tolist()
        eos = self.model.config.eos_token_id
        return [answer[: answer.index(eos) + 1] if eos in answer else answer for answer in answers]

    def distort(self, prompts: list, answers: list, logprobs: list[list[float]]) -> list[list[float]]:
        distorted = []
        for row, (prompt, answer, values) in enumerate(zip(prompts, answers, logprobs, strict=True)):
            source = random.Random(f"{prompt} {answer}")
            noisy = [value + self.noise * source.gauss(0, 1) for value in values]
            noisy = [math.nan if source.random() < self.nan_share else value for value in noisy]
            distorted.append([self.overrides.get((row, position), value) for position, value in enumerate(noisy)])
        return distorted

    def _note(self, event: str) -> None:
        if self.events[-1:] != [event]:  # TRL sends one weight after another
            self.events.append(event)


class LLM:
    """vLLM's class of that name, for colocate mode: what TRL passes, calls and reaches into."""

    def __init__(
        self,
        *,
        model: str,
        tensor_parallel_size: int,
        gpu_memory_utilization: float,
        max_model_len: int | None,
        max_num_seqs: int,
        enable_sleep_mode: bool,
        model_impl: str,
        distributed_executor_backend: str,
        seed: int,
        max_num_batched_tokens: int,
        logprobs_mode: str,
        quantization: str | None,
        trust_remote_code: bool,
    ):
        self.engine = Engine(seed, uses_processed_logprobs=logprobs_mode == "processed_logprobs")
        runner = SimpleNamespace(model_runner=SimpleNamespace(model=self.engine))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=runner))
        self._asleep: set[str] = set()

    def generate(self, prompts: list[dict], *, sampling_params: SamplingParams, use_tqdm: bool) -> list[RequestOutput]:
        assert not self._asleep, f"{sorted(self._asleep)} are asleep."
        return self.engine.generate([prompt["prompt_token_ids"] for prompt in prompts], sampling_params)

    def reset_prefix_cache(self) -> None:
        self.engine.events.append("reset")

    def sleep(self, level: int) -> None:
        assert level == 2  # the level at which the weights are lost
        self._asleep = {"weights", "kv_cache"}
        for parameter in self.engine.model.parameters():
            parameter.data.fill_(math.nan)

    def wake_up(self, tags: list[str]) -> None:
        self._asleep -= set(tags)


# The server: as much of vLLM's HTTP interface as TRL's client asks for.


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer(
            {
                "/health": lambda: {},
                "/v1/models": lambda: {"data": [{"id": "tiny"}]},
                "/get_world_size": lambda: {"world_size": 1},
                "/server_info": lambda: {
                    "vllm_config": {
                        "weight_transfer_config": {"backend": "nccl"},
                        "model_config": {"logprobs_mode": "processed_logprobs"},
                    }
                },
            }
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        engine = self.server.engine
        self._answer(
            {
                "/init_weight_transfer_engine": lambda: self.server.join(body["init_info"]),
                "/start_weight_update": lambda: engine.events.append("start"),
                "/update_weights": lambda: engine.load_weights(self.server.receive(**body["update_info"])),
                "/finish_weight_update": lambda: engine.events.append("finish"),
                "/reset_prefix_cache": lambda: engine.events.append("reset") or {"success": True},
                "/v1/completions": lambda: self._complete(**body),
            }
        )

    def _complete(self, model, prompt, return_token_ids, return_tokens_as_token_ids, **params) -> dict:
        assert model == "tiny" and return_token_ids and return_tokens_as_token_ids
        requests = self.server.engine.generate(prompt, SamplingParams(**params))
        return {
            "choices": [
                {
                    "prompt_token_ids": request.prompt_token_ids,
                    "token_ids": output.token_ids,
                    "logprobs": _to_openai(output),
                }
                for request in requests
                for output in request.outputs
            ]
        }

    def _answer(self, routes: dict[str, Callable]) -> None:
        try:
            # NaN is refused, as it is by the framework under vLLM's server.
            code, text = 200, json.dumps(routes[self.path.split("?")[0]]() or {}, allow_nan=False)
        except Exception as error:  # 400, because TRL's client asks again after a 500
            code, text = 400, f"{type(error).__name__}: {error}"
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


def _to_openai(output: CompletionOutput) -> dict[str, list]:
    tokens = [f"token_id:{token}" for token in output.token_ids]
    values = [logprobs[token].logprob for token, logprobs in zip(output.token_ids, output.logprobs, strict=True)]
    top = [{token: value} for token, value in zip(tokens, values, strict=True)]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": top}


class _Group:
    """What NCCL would carry between the trainer and the server, in order."""

    def __init__(self):
        self.tensors: queue.Queue[torch.Tensor] = queue.Queue()
        self.group = SimpleNamespace()  # TRL's client takes its sockets away at the end


_GROUPS: dict[int, _Group] = {}


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine, self.group = Engine(), _Group()
        _GROUPS[self.server_port] = self.group  # any number does: nothing listens there

    def join(self, init_info: dict[str, Any]) -> None:
        assert init_info["world_size"] == 2 and _GROUPS[init_info["master_port"]] is self.group

    def receive(
        self, names: list[str], dtype_names: list[str], shapes: list[list[int]]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        for name, dtype, shape in zip(names, dtype_names, shapes, strict=True):
            tensor = self.group.tensors.get(timeout=30)
            assert (str(tensor.dtype), list(tensor.shape)) == (f"torch.{dtype}", shape), (
                f"{name} was announced otherwise."
            )
            yield name, tensor


class Client(vllm_client.VLLMClient):
    """TRL's client on a machine without a GPU: its weights go over the stand-in's group, whatever the device."""

    def init_communicator(self, device: Any = 0) -> None:
        super().init_communicator("cuda")


def _broadcast(iterator: Iterator, group: _Group, src: int, post_iter_func: Callable) -> None:
    for item in iterator:
        group.tensors.put(post_iter_func(item).detach().clone())


REPLACED = {
    vllm_generation: {"LLM": LLM, "SamplingParams": SamplingParams, "RequestOutput": RequestOutput},
    vllm_client: {
        "get_ip": lambda: "127.0.0.1",
        "open_trainer_endpoint": lambda init_info: _GROUPS[init_info["master_port"]],
        "packed_nccl_broadcast_producer": _broadcast,
    },
}
"""By module of TRL, the names that it imports from vLLM and that a test needs."""


def put_in_place(patch: pytest.MonkeyPatch) -> None:
    """Let TRL find the stand-in where it looks for vLLM, as one of the newest version that it supports."""
    for module, names in REPLACED.items():
        patch.setattr(module, "is_vllm_available", lambda: True)
        for name, value in names.items():
            patch.setattr(module, name, value, raising=False)  # absent where vLLM is not installed
    patch.setattr(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", True)
    patch.setattr(vllm_client, "_HAS_RESET_PREFIX_CACHE_SUCCESS", True)
    patch.setattr(vllm_generation, "VLLMClient", Client)


@contextmanager
def serve() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def build_vllm_trainer(
    output_dir: Any, *args: Any, server: Server | None = None, **settings: Any
) -> tuple[Any, Engine]:
    """A trainer as in tiny.py that generates with the stand-in, of this process or of a server, and its engine."""
    mode = {"vllm_mode": "colocate"}
    if server is not None:
        base_url = f"http://127.0.0.1:{server.server_port}"
        mode = {"vllm_mode": "server", "vllm_server_base_url": base_url, "vllm_group_port": server.server_port}
    with mock.patch.dict(os.environ):  # TRL writes the rank there, for vLLM
        trainer = build_trainer(output_dir, *args, rollout_func=None, use_vllm=True, **(mode | settings))
    return trainer, trainer.vllm_generation.llm.engine if server is None else server.engine
