"""Models with random weights and the shapes of real ones, and a tokenizer of three words."""

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config


# layers, hidden, intermediate, heads, key-value heads, vocabulary, tied embeddings; then the divisor on a CPU.
SHAPES = {
    "Qwen3-0.6B": (28, 1024, 3072, 16, 8, 151_936, True, 4),
    "Qwen3-8B": (36, 4096, 12_288, 32, 8, 151_936, False, 16),
    # When all sizes are divided by one factor, the head takes 59 % of the weights instead of 26 %. Here the vocabulary is
    # divided by the square of the factor, which keeps the parts of the full size.
    "Qwen3-0.6B, equal shares": (28, 1024, 3072, 16, 8, 151_936 // 4, True, 4),
    "LM head of Qwen3-0.6B": (1, 1024, 64, 2, 1, 151_936, True, 1),  # at full size, with next to no backbone
}


def build_config(shape: str, scale_down: bool) -> Qwen3Config:
    layers, hidden, intermediate, heads, kv_heads, vocabulary, tied, divisor = SHAPES[shape]
    divisor = divisor if scale_down else 1
    return Qwen3Config(
        vocab_size=vocabulary // divisor,
        hidden_size=hidden // divisor,
        intermediate_size=intermediate // divisor,
        num_hidden_layers=max(1, round(layers / divisor)),
        num_attention_heads=max(1, heads // divisor),
        num_key_value_heads=max(1, kv_heads // divisor),
        head_dim=128 if not scale_down else 64,
        tie_word_embeddings=tied,
        max_position_embeddings=40_960,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")), pad_token="<pad>", eos_token="<eos>"
    )
