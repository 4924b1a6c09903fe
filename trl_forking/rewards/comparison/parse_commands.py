"""What stands behind a command: arguments, roots, fractions, functions and mixed numbers."""

from collections.abc import Sequence
from fractions import Fraction

from .tokens import NotReadable, Token, find_end
from .tree import Literal, Node, read_literal


FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "coth", "log", "ln", "lg", "exp", "sqrt", "abs", "floor", "ceil", "gcd", "lcm", "max", "min",
}  # fmt: skip
CONSTANTS = {"pi": "pi", "infty": "infinity", "infinity": "infinity", "inf": "infinity", "e": "e", "i": "i"}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi",
    "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell", "hbar",
}  # fmt: skip
ACCENTS = {
    "vec", "hat", "bar", "overline", "tilde", "widehat", "overrightarrow", "dot", "ddot", "mathcal", "mathbb", "mathfrak",
    "widetilde", "mathscr",
}  # fmt: skip
STARTING_COMMANDS = FUNCTIONS | set(CONSTANTS) | GREEK | ACCENTS | {"frac", "binom", "permutations", "lfloor", "lceil"}
PLAIN_NAMES = {"pi", "theta", "alpha", "beta", "gamma", "delta", "lambda", "sigma", "omega", "phi", "psi", "infinity"}
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_OTHER_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_PAIRS = {"frac": "divide", "binom": "binomial", "permutations": "permutations"}  # commands with two arguments
_MAX_DEPTH = 15
_ENDS = {"(": ")", "[": "]", "{": "}", "lfloor": "rfloor", "lceil": "rceil"}


def make_number(value: Fraction | int) -> Node:
    """
    Make the node of an exact number.

    Args:
        value (`Fraction` or `int`):
            The number.

    Returns:
        [`~trl_forking.rewards.comparison.tree.Node`]: the node.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse_commands import make_number
    >>> make_number(2).value.value
    Fraction(2, 1)
    ```
    """
    return Node("number", value=Literal(Fraction(value)))


def make_symbol(name: str) -> Node:
    """
    Make the node of a constant or a variable.

    Args:
        name (`str`):
            Its name, without a backslash.

    Returns:
        [`~trl_forking.rewards.comparison.tree.Node`]: the node.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse_commands import make_symbol
    >>> make_symbol("pi").kind, make_symbol("x").kind
    ('constant', 'symbol')
    ```
    """
    return Node("constant", value=CONSTANTS[name]) if name in CONSTANTS else Node("symbol", value=name)


class TokenReader:
    """
    A place in a row of tokens.

    Args:
        tokens (`Sequence[Token]`):
            The tokens.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse_commands import TokenReader
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> reader = TokenReader(tokenize("+x"))
    >>> reader.take("+"), reader.peek().text
    (True, 'x')
    ```
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens, self.place = list(tokens), 0

    def peek(self, ahead: int = 0) -> Token | None:
        """Return the next token, or `None` at the end."""
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else None

    def is_at(self, *texts: str, ahead: int = 0) -> bool:
        """Say whether the next token is one of these signs or commands."""
        token = self.peek(ahead)
        return token is not None and token.kind in ("sign", "command") and token.text in texts

    def is_number(self, ahead: int = 0) -> bool:
        """Say whether the next token is a number."""
        token = self.peek(ahead)
        return token is not None and token.kind == "number"

    def take(self, *texts: str) -> bool:
        """Pass the next token if it is one of these signs or commands, and say whether it is."""
        if self.is_at(*texts):
            self.place += 1
            return True
        return False

    def expect(self, text: str) -> None:
        """Pass the next token, which must be this sign or command."""
        if not self.take(text):
            raise NotReadable(f"{text!r} is missing")

    def take_braced(self, *texts: str) -> bool:
        """Pass a pair of braces with one of these signs or commands in it."""
        if self.is_at("{") and self.is_at(*texts, ahead=1) and self.is_at("}", ahead=2):
            self.place += 3
            return True
        return False

    def take_group_as_text(self) -> str:
        """Pass one token or a group in braces, and return its characters without the braces."""
        start = self.place
        self.place = find_end(self.tokens, start) + 1 if self.is_at("{") else start + 1
        return "".join(token.text for token in self.tokens[start : self.place]).strip("{}")


class CommandParser(TokenReader):
    """
    The rules of commands. [`~trl_forking.rewards.comparison.parse.FormulaParser`] adds those of sums and products.

    Args:
        tokens (`Sequence[Token]`):
            The tokens.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self.num_bars = 0  # bars of absolute values that are open
        self.depth = 0

    def parse_sum(self) -> Node:
        """Read a sum. It ends before the first token that is no part of one."""
        raise NotImplementedError

    def parse_power(self) -> Node:
        """Read a factor with its exponent."""
        raise NotImplementedError

    def parse_script(self, node: Node) -> Node:
        """Read what stands behind a value: an exponent, an index, a factorial, a percent sign."""
        raise NotImplementedError

    def starts_factor(self) -> bool:
        """Say whether the next token starts a factor, so that the product needs no sign."""
        raise NotImplementedError

    def parse_group(self, opening: str) -> Node:
        """Read a sum in brackets."""
        self.expect(opening)
        num_bars, self.num_bars, self.depth = self.num_bars, 0, self.depth + 1
        if self.depth > _MAX_DEPTH:
            raise NotReadable(f"brackets are nested more than {_MAX_DEPTH} times")
        node = self.parse_sum()
        self.num_bars, self.depth = num_bars, self.depth - 1
        self.expect(_ENDS[opening])
        return node

    def parse_argument(self, many_digits: bool = False) -> Node:
        r"""Read what a command takes: a group in braces, or one token. Of `\frac12` that is one digit each."""
        token = self.peek()
        if token is None:
            raise NotReadable("the formula ends too early")
        if token.kind == "number":
            return self._parse_digits(token, many_digits)
        if token.kind == "letters":
            is_name = token.text in PLAIN_NAMES
            rest = "" if is_name else token.text[1:]
            self.place += not rest
            if rest:
                self.tokens[self.place] = token._replace(text=rest)
            return make_symbol(token.text if is_name else token.text[0])
        if many_digits and self.take("-"):
            return Node("negative", (self.parse_argument(many_digits),))
        return self.parse_group(token.text) if self.is_at("{", "(") else self.parse_atom()

    def _parse_digits(self, token: Token, many_digits: bool) -> Node:
        if many_digits or len(token.text) == 1:
            self.place += 1
            return Node("number", value=_read_literal(token.text))
        if not token.text.isdigit() or len(token.text) > 2:
            raise NotReadable("an argument has no braces")
        self.tokens[self.place] = token._replace(text=token.text[1:])
        return make_number(int(token.text[0]))

    def parse_atom(self) -> Node:
        """Read a value without what stands behind it."""
        token = self.peek()
        if token is None:
            raise NotReadable("the formula ends too early")
        if token.kind == "number":
            return self.parse_number()
        if self.is_at("(", "[", "{"):
            return self.parse_group(token.text)
        if self.take("|"):
            self.num_bars += 1
            node = Node("call", (self.parse_sum(),), "abs")
            self.num_bars -= 1
            self.expect("|")
            return node
        if token.kind == "command":
            return self.parse_command(token.text)
        raise NotReadable(f"{token.text!r} has no meaning here")

    def parse_number(self) -> Node:
        """Read a number, which may be a mixed one."""
        literal = _read_literal(self.tokens[self.place].text)
        self.place += 1
        part = self._read_part() if literal.value.denominator == 1 and literal.last is None else None
        return Node("number", value=literal) if part is None else make_number(literal.value + part)

    def _read_part(self) -> Fraction | None:
        r"""Read the fraction of a mixed number: `1 1/4` or `1\frac{1}{4}`."""
        tokens = self.tokens[self.place : self.place + 7]
        texts = [token.text for token in tokens]
        if len(tokens) >= 3 and tokens[0].spaced and texts[1] == "/" and texts[0].isdigit() and texts[2].isdigit():
            top, bottom, length = texts[0], texts[2], 3
        elif texts[:2] == ["frac", "{"] and len(texts) == 7 and [texts[3], texts[4], texts[6]] == ["}", "{", "}"]:
            top, bottom, length = texts[2], texts[5], 7
        elif texts[:1] == ["frac"] and len(texts) >= 2 and len(texts[1]) == 2:
            top, bottom, length = texts[1][0], texts[1][1], 2
        else:
            return None
        if not (top.isdigit() and bottom.isdigit()):
            return None
        if not 0 < int(top) < int(bottom):
            raise NotReadable("a whole number stands before a fraction that is no part of one")
        self.place += length
        return Fraction(int(top), int(bottom))

    def parse_command(self, name: str) -> Node:
        """Read a command with its arguments."""
        self.place += 1
        if name in FUNCTIONS:
            return self.parse_function(name)
        if name in CONSTANTS or name in GREEK:
            return make_symbol(name)
        if name in _PAIRS:
            top = self.parse_argument()
            parts = (top, self.parse_argument())
            return Node("divide", parts) if name == "frac" else Node("call", parts, _PAIRS[name])
        if name in ("lfloor", "lceil"):
            node = self.parse_sum()
            self.expect(_ENDS[name])
            return Node("call", (node,), name[1:])
        if name in ACCENTS:
            letters = self.take_group_as_text()
            if letters.isalpha():
                return Node("symbol", value=f"{name}({letters})")
        raise NotReadable(f"\\{name} has no rule")

    def parse_function(self, name: str) -> Node:
        """Read a function behind its name: its exponent, its base and its arguments."""
        if name == "sqrt":
            return self._parse_root()
        name = _OTHER_NAMES.get(name, name)
        base = exponent = None
        while self.is_at("_", "^"):
            if self.take("_"):
                base = self.parse_argument(many_digits=True)
            else:
                self.place += 1
                exponent = self.parse_argument(many_digits=True)
        if base is not None and name != "log":
            raise NotReadable(f"{name} has an index")
        if exponent == Node("negative", (make_number(1),)):
            if name not in _INVERSES:
                raise NotReadable("an inverse function has no rule")
            name, exponent = _INVERSES[name], None
        arguments = self._parse_function_arguments()
        node = Node("call", arguments if base is None else (*arguments, base), name)
        return node if exponent is None else Node("power", (node, exponent))

    def _parse_root(self) -> Node:
        index = make_number(2)
        if self.take("["):
            index = self.parse_sum()
            self.expect("]")
        token = self.peek()
        if token is not None and token.kind == "number" and len(token.text) > 1 and not token.spaced:
            raise NotReadable("it is not clear where the root ends")
        return Node("call", (self.parse_argument(many_digits=True), index), "root")

    def _parse_function_arguments(self) -> tuple[Node, ...]:
        if self.take("("):
            arguments = [self.parse_sum()]
            while self.take(","):
                arguments.append(self.parse_sum())
            self.expect(")")
            if self.is_at("^"):
                raise NotReadable("it is not clear whether the exponent belongs to the function")
            return tuple(arguments)
        if self.is_at("{", "|"):
            return (self.parse_power(),)
        is_negative = self.take("-")
        node = self.parse_power()
        while self.starts_factor() and not self.is_at("(", "[") and not self._is_at_function(0):
            node = Node("multiply", (node, self.parse_power()))
        if self.is_at("/") and not self._is_at_function(1):
            raise NotReadable("it is not clear where the argument of a function ends")
        return (Node("negative", (node,)) if is_negative else node,)

    def _is_at_function(self, ahead: int) -> bool:
        token = self.peek(ahead)
        return token is not None and token.kind in ("command", "letters") and token.text in FUNCTIONS - {"sqrt"}


def _read_literal(text: str) -> Literal:
    try:
        return read_literal(text)
    except ValueError as error:
        raise NotReadable(str(error)) from error
