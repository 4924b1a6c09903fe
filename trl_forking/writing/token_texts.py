"""The text that each token adds to an answer. Together the texts are the answer."""

import codecs
import os
import re
from collections.abc import Callable, Sequence
from typing import Any


# The name of a token for one byte in vocabularies of SentencePiece.
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _map_characters_to_bytes() -> dict[str, int]:
    """Invert the table of byte-level BPE. Printable Latin-1 characters are their own bytes, and the others start at 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _map_characters_to_bytes()


class TokenTexts:
    r"""
    Splits answers into the texts of their tokens, and names single tokens.

    The texts of an answer together are exactly `tokenizer.decode(token_ids, skip_special_tokens=False,
    clean_up_tokenization_spaces=False)`. If several tokens make one character, the last one adds the character, and the
    others add `""`. Special tokens, such as the one that ends an answer, are treated like other tokens.

    The time is linear in the number of tokens for byte-level BPE, for SentencePiece with or without byte fallback, and for
    tokenizers whose `decode` puts spaces between words. For any other tokenizer it is quadratic, because every beginning of
    the answer is decoded.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model. The texts of its tokens are cached.

    Example:
    ```python
    >>> from trl_forking.writing.token_texts import TokenTexts
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> TokenTexts(tokenizer).split(tokenizer("3 * 5 = 15")["input_ids"])
    ['3', ' *', ' 5', ' =', ' 15']
    ```
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._bytes: dict[int, bytes] = {}
        self._pieces: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def split(self, token_ids: Sequence[int]) -> list[str]:
        """
        Split an answer into the texts of its tokens.

        Args:
            token_ids (`Sequence[int]` of length `T`):
                Tokens of one answer.

        Returns:
            `list[str]` of length `T`.
        """
        ids = [int(token_id) for token_id in token_ids]
        text = self._decode(ids)
        for way in (self._split_bytes, self._split_words):
            pieces = way(ids)
            if "".join(pieces) == text:
                return pieces
        return _split_by_beginnings(ids, self._decode)

    def name(self, token_id: int) -> str:
        r"""
        Name a token by the text that it adds in the middle of an answer. If its bytes are not a text, show the bytes.

        Args:
            token_id (`int`):
                Token.

        Returns:
            `str`: such as `" the"`, or `"\\xe2\\x80"` for the first two bytes of a dash.
        """
        if token_id not in self._names:
            self._names[token_id] = self._name(token_id)
        return self._names[token_id]

    def _name(self, token_id: int) -> str:
        piece = self._find_piece(token_id)
        value = self._find_byte_of_fallback(token_id)
        if value is None and "\ufffd" not in piece:
            return piece
        content = self._find_bytes(token_id) if value is None else value
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in content)

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _split_bytes(self, ids: list[int]) -> list[str]:
        """Split as byte-level BPE decodes: the bytes of all tokens are one text."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [decoder.decode(self._find_bytes(token_id)) for token_id in ids]
        if pieces:
            pieces[-1] += decoder.decode(b"", final=True)
        return pieces

    def _split_words(self, ids: list[int]) -> list[str]:
        """Split as SentencePiece decodes: each token is a text, and the first one may lose its space."""
        pieces: list[str] = []
        run = bytearray()
        for token_id in ids:
            value = self._find_byte_of_fallback(token_id)
            if value is not None:
                run += value
                continue
            pieces += _split_fallback(run)
            run.clear()
            pieces.append(self._find_piece(token_id) if pieces else self._decode([token_id]))
        return pieces + _split_fallback(run)

    def _find_piece(self, token_id: int) -> str:
        if token_id not in self._pieces:
            # Twice, because the second one has a text before it.
            once, twice = self._decode([token_id]), self._decode([token_id, token_id])
            self._pieces[token_id] = twice[len(once) :]
        return self._pieces[token_id]

    def _find_bytes(self, token_id: int) -> bytes:
        if token_id not in self._bytes:
            token = self.tokenizer.convert_ids_to_tokens(token_id) or ""
            values = [_BYTE_OF_CHARACTER.get(character) for character in token]
            known = [value for value in values if value is not None]
            self._bytes[token_id] = bytes(known) if len(known) == len(values) else token.encode()
        return self._bytes[token_id]

    def _find_byte_of_fallback(self, token_id: int) -> bytes | None:
        match = _BYTE_TOKEN.fullmatch(self.tokenizer.convert_ids_to_tokens(token_id) or "")
        return bytes([int(match[1], 16)]) if match else None


def _split_fallback(run: bytearray) -> list[str]:
    r"""Split neighboring byte tokens. The last byte of a character adds it. Bytes that are not a text add `\ufffd` each."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        pieces = [decoder.decode(bytes([value])) for value in run]
        decoder.decode(b"", final=True)
        return pieces
    except UnicodeDecodeError:
        return ["\ufffd"] * len(run)


def _split_by_beginnings(ids: list[int], decode: Callable[[list[int]], str]) -> list[str]:
    """Split by the beginning that the text of the first tokens has in common with the whole text."""
    text, pieces, end = decode(ids), [], 0
    for count in range(1, len(ids) + 1):
        common = len(text) if count == len(ids) else len(os.path.commonprefix([decode(ids[:count]), text]))
        pieces.append(text[end:common])
        end = max(end, common)
    return pieces
