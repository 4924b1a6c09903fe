"""Train the model of the built-in task on random searches. This takes about five minutes on one core.

    python -m trl_forking.countdown.warm_start --output_dir assets

In the texts, every attempt is drawn at random from all legal attempts or, with probability 0.3, from the right ones. The
model learns to write legal attempts, and to prefer right ones a little. With a probability of 0.1, reinforcement learning
found too few right answers in two minutes. The forks keep a high entropy, because many attempts are legal, and all other
words lose their entropy.
"""

import argparse
import math
import time
from pathlib import Path
from random import Random

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from ..selection.entropies import compute_entropies
from .evaluation import evaluate_countdown
from .problems import (
    END_TOKEN,
    FORK_OFFSETS,
    LARGEST_NUMBER,
    LARGEST_VALUE,
    MAX_ATTEMPTS,
    MAX_COMPLETION_LENGTH,
    PAD_TOKEN,
    SMALLEST_NUMBER,
    VOCABULARY,
    WORDS_PER_ATTEMPT,
    format_prompt,
    is_held_out,
    list_attempts,
    list_goals,
    make_countdown_dataset,
)
from .verifier import mark_forks


NUM_STEPS = 1000
BATCH_SIZE = 64
LEARNING_RATE = 3e-3
NUM_WARMUP_STEPS = 50
RIGHT_ATTEMPT_PROBABILITY = 0.3
LARGE_NUMBER_PROBABILITY = 0.5

TOP_SHARE = 0.2
FORK_NAMES = ("first operand", "operation", "second operand", "second operation")

WORD_IDS = {word: index for index, word in enumerate(VOCABULARY)}
IGNORED_LABEL = -100


def build_countdown_tokenizer() -> PreTrainedTokenizerFast:
    """
    Build the word-level tokenizer of the task: 65 words, padding on the left.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: tokenizer that adds no special tokens and decodes to words with single
        spaces between them. It has no unknown word: other words are an error.

    Example:
    ```python
    >>> from trl_forking.countdown.warm_start import build_countdown_tokenizer
    >>> tokenizer = build_countdown_tokenizer()
    >>> len(tokenizer)
    65
    >>> tokenizer.decode(tokenizer("nums 3 5 2 goal 16 :")["input_ids"])
    'nums 3 5 2 goal 16 :'
    ```
    """
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(VOCABULARY)}))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=END_TOKEN,
        padding_side="left",
        # The clean-up would remove the space before a comma.
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_countdown_model(seed: int = 0) -> Qwen3ForCausalLM:
    """
    Build the model of the task with new random weights: Qwen3 with 4 layers of width 128, 665,088 parameters, fp32.

    Args:
        seed (`int`, *optional*, defaults to `0`):
            Seed of the weights. The random state of the caller is left as it was.

    Returns:
        [`~transformers.Qwen3ForCausalLM`]: model on the CPU.

    Example:
    ```python
    >>> from trl_forking.countdown.warm_start import build_countdown_model
    >>> build_countdown_model().num_parameters()
    665088
    ```
    """
    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=128,
        # Prompt and answer have 59 tokens: with the usual 10,000 most frequencies would be useless.
        rope_theta=1000.0,
        tie_word_embeddings=True,
        pad_token_id=VOCABULARY.index(PAD_TOKEN),
        eos_token_id=VOCABULARY.index(END_TOKEN),
        bos_token_id=None,
    )
    # Transformers 5 reads the base of the rotary embedding from `rope_parameters`, Transformers 4 from here.
    config.rope_theta = 1000.0
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config).float()


def draw_problem(random: Random) -> tuple[list[int], int]:
    """
    Draw a solvable problem that is not held out. In half of the problems one number may be as large as 50.

    The model needs the large numbers to learn the arithmetic. For example, `45 - 9` occurs in a search only after `9 * 5`
    with another 9. If this triple is held out, the model would never see what 45 - 9 is.

    Args:
        random (`random.Random`):
            Source of random numbers.

    Returns:
        `tuple[list[int], int]`: three numbers and a goal that they reach.

    Example:
    ```python
    >>> from random import Random
    >>> from trl_forking.countdown.warm_start import draw_problem
    >>> nums, goal = draw_problem(Random(0))
    >>> len(nums)
    3
    ```
    """
    while True:
        nums = [random.randint(SMALLEST_NUMBER, LARGEST_NUMBER) for _ in range(3)]
        if random.random() < LARGE_NUMBER_PROBABILITY:
            nums[random.randrange(3)] = random.randint(SMALLEST_NUMBER, LARGEST_VALUE)
        if not is_held_out(nums):
            return nums, random.choice(list_goals(nums))


def draw_search(nums: list[int], goal: int, random: Random) -> str:
    """
    Write a random search of at most 3 attempts. It ends with the first attempt that reaches the goal.

    Args:
        nums (`list[int]`):
            Three numbers from 1 to 9.
        goal (`int`):
            A goal that they reach.
        random (`random.Random`):
            Source of random numbers.

    Returns:
        `str`: search with 17 words per attempt, without the end token.

    Example:
    ```python
    >>> from random import Random
    >>> from trl_forking.countdown.warm_start import draw_search
    >>> len(draw_search([3, 5, 2], 16, Random(0)).split()) in (17, 34, 51)
    True
    ```
    """
    attempts = list_attempts(nums, goal)
    right_attempts = [attempt for attempt in attempts if attempt.endswith("yes")]
    search = []
    for _ in range(MAX_ATTEMPTS):
        pool = right_attempts if random.random() < RIGHT_ATTEMPT_PROBABILITY else attempts
        search.append(random.choice(pool))
        if search[-1].endswith("yes"):
            break
    return " ".join(search)


def draw_batch(random: Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random searches as `input_ids` and `labels`, `(B, T)` each. Prompts and padding have no loss."""
    input_ids, labels = [], []
    for _ in range(BATCH_SIZE):
        nums, goal = draw_problem(random)
        prompt = [WORD_IDS[word] for word in format_prompt(nums, goal).split()]
        answer = [WORD_IDS[word] for word in [*draw_search(nums, goal, random).split(), END_TOKEN]]
        num_padding = MAX_COMPLETION_LENGTH - len(answer)
        input_ids.append(prompt + answer + [WORD_IDS[PAD_TOKEN]] * num_padding)
        labels.append([IGNORED_LABEL] * len(prompt) + answer + [IGNORED_LABEL] * num_padding)
    return torch.tensor(input_ids), torch.tensor(labels)


def train(seed: int) -> Qwen3ForCausalLM:
    """
    Train a new model on random searches.

    Args:
        seed (`int`):
            Seed of the weights and of the texts.

    Returns:
        [`~transformers.Qwen3ForCausalLM`]: trained model in evaluation mode.
    """
    random = Random(seed)
    model = build_countdown_model(seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        # A linear rise over the first steps, then a linear fall to zero.
        lambda step: min((step + 1) / NUM_WARMUP_STEPS, (NUM_STEPS - step) / (NUM_STEPS - NUM_WARMUP_STEPS)),
    )
    for step in range(NUM_STEPS):
        input_ids, labels = draw_batch(random)
        # The padding is on the right, where causal attention never sees it. So there is no attention mask.
        loss = model(input_ids=input_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.4f} nats", flush=True)
    return model.eval()


def _list_tokens(completion: str) -> list[str]:
    # The end token belongs to an answer, unless the answer is too long.
    return [*completion.split(), END_TOKEN][:MAX_COMPLETION_LENGTH]


def _score_answers(model: Qwen3ForCausalLM, prompts: list[str], completions: list[str]) -> list[list[float]]:
    """Compute the entropy in nats at each token of each answer, under the model that wrote the answers."""
    answers = [_list_tokens(completion) for completion in completions]
    rows = [
        [WORD_IDS[word] for word in [*prompt.split(), *answer, *[PAD_TOKEN] * (MAX_COMPLETION_LENGTH - len(answer))]]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    prompt_length = len(prompts[0].split())
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(rows)).logits[:, prompt_length - 1 :]  # from the first answer word on
    entropies = compute_entropies(logits).squeeze(-1)  # (B, T)
    return [row[: len(answer)].tolist() for row, answer in zip(entropies, answers, strict=True)]


def compute_figures(model: Qwen3ForCausalLM, problems: Dataset, seed: int) -> dict[str, float]:
    """
    Compute the distribution of the entropy over answers of the model, and how well the top 20 % find the forks.

    Args:
        model ([`~transformers.Qwen3ForCausalLM`]):
            Model on the CPU.
        problems ([`~datasets.Dataset`]):
            Problems of [`make_countdown_dataset`].
        seed (`int`):
            Seed of the sampling.

    Returns:
        `dict[str, float]`: figures by name. Entropies are in nats, and all other figures are fractions.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model, make_countdown_dataset
    >>> from trl_forking.countdown.warm_start import compute_figures
    >>> figures = compute_figures(load_countdown_model(), make_countdown_dataset("eval", 64, seed=0), seed=0)
    >>> figures["precision"] > 0.9
    True
    ```
    """
    completions = evaluate_countdown(model, build_countdown_tokenizer(), problems, seed).completions
    answers = [_list_tokens(completion) for completion in completions]
    rows = _score_answers(model, problems["prompt"], completions)
    entropies = torch.tensor(
        [entropy for row in rows for entropy in row]
    )  # the tokens of all answers, one after the other
    forks = torch.tensor([is_fork for answer in answers for is_fork in mark_forks(answer)])
    offsets = torch.tensor([index % WORDS_PER_ATTEMPT for answer in answers for index in range(len(answer))])

    num_kept = math.ceil(TOP_SHARE * len(entropies))
    kept = torch.zeros_like(forks)
    kept[entropies.topk(num_kept).indices] = True
    num_hits = (kept & forks).sum().item()
    figures = {
        "mean entropy": entropies.mean().item(),
        "tokens under 0.01 nats": (entropies < 0.01).float().mean().item(),
        "80th percentile": entropies.quantile(1 - TOP_SHARE).item(),
        "entropy held by the top 20 %": (entropies[kept].sum() / entropies.sum()).item(),
        "forks among the tokens": forks.float().mean().item(),
        "precision": num_hits / num_kept,
        "recall": num_hits / forks.sum().item(),
    }
    for name, offset in zip(FORK_NAMES, FORK_OFFSETS, strict=True):
        here = forks & (offsets == offset)
        figures[f"entropy, {name}"] = entropies[here].mean().item()
        figures[f"kept, {name}"] = kept[here].float().mean().item()
    figures["entropy, all other words"] = entropies[~forks].mean().item()
    figures["kept, all other words"] = kept[~forks].float().mean().item()
    return figures


def main() -> None:
    """Train the model, print its figures, and save model and tokenizer."""
    parser = argparse.ArgumentParser(description="Train the model of the Countdown task.")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the model and the tokenizer")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and texts (default: 0)")
    arguments = parser.parse_args()

    # Sums depend on the number of threads, and so would the weights.
    torch.set_num_threads(1)
    start = time.perf_counter()
    model = train(arguments.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")
    tokenizer = build_countdown_tokenizer()
    for split in ("train", "eval"):
        problems = make_countdown_dataset(split, 1024, seed=0)
        evaluation = evaluate_countdown(model, tokenizer, problems, seed=0)
        low, high = evaluation.interval
        print(f"accuracy on {split:<5}  {evaluation.accuracy:.3f} ({low:.3f} to {high:.3f})")
    for name, value in compute_figures(model, make_countdown_dataset("eval", 1024, seed=0), seed=0).items():
        print(f"{name:<32}{value:.3f}")
    model.save_pretrained(arguments.output_dir)
    # A tokenizer that has padded would save its padding too.
    build_countdown_tokenizer().save_pretrained(arguments.output_dir)
    # Transformers 4 does not know the class name that Transformers 5 writes. Both know this one.
    config_file = arguments.output_dir / "tokenizer_config.json"
    config_file.write_text(config_file.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))


if __name__ == "__main__":
    main()
