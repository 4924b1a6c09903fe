"""A reader of formulas. It takes every token, or it says that it cannot read the formula."""

from collections.abc import Sequence

from .normalize import normalize
from .parse_commands import CONSTANTS, FUNCTIONS, PLAIN_NAMES, STARTING_COMMANDS, CommandParser, make_symbol
from .tokens import NotReadable, Token, find_end, tokenize
from .tree import Node
from .words import CLOSED_CLASSES


_FUNCTION_LETTERS = {"f", "g", "h", "F", "G", "H", "P", "Q"}
_MAX_PRODUCT = 3
_SHORT_WORDS = {"not", "but", "nor", "for", "and", "yet", "why", "any", "all"}  # others, such as at, may be products


def parse(tokens: Sequence[Token]) -> Node:
    """
    Read a formula that has one value: no list, no relation, no words.

    Args:
        tokens (`Sequence[Token]`):
            Its tokens.

    Returns:
        [`~trl_forking.rewards.comparison.tree.Node`]: the formula.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if a token is left over or has no rule.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> parse(tokenize("2x")).kind
    'multiply'
    >>> parse(tokenize("2 3"))
    Traceback (most recent call last):
        ...
    trl_forking.rewards.comparison.tokens.NotReadable: two numbers stand side by side
    ```
    """
    parser = FormulaParser(tokens)
    node = parser.parse_sum()
    token = parser.peek()
    if token is not None:
        raise NotReadable(f"{token.text!r} is left over")
    return node


def parse_text(text: str) -> Node:
    """
    Read a formula from its text.

    Args:
        text (`str`):
            A formula in LaTeX or ASCII.

    Returns:
        [`~trl_forking.rewards.comparison.tree.Node`]: the formula.

    Raises:
        [`~trl_forking.rewards.comparison.tokens.NotReadable`]: if it cannot be read.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import parse_text
    >>> parse_text("1 1/4").value.value
    Fraction(5, 4)
    ```
    """
    return parse(tokenize(normalize(text)))


class FormulaParser(CommandParser):
    """
    Goes over the tokens once. Each method reads one kind of part and stops behind it.

    Args:
        tokens (`Sequence[Token]`):
            The tokens.

    Example:
    ```python
    >>> from trl_forking.rewards.comparison.parse import FormulaParser
    >>> from trl_forking.rewards.comparison.tokens import tokenize
    >>> FormulaParser(tokenize("x+1=2")).parse_sum().kind
    'add'
    ```
    """

    def parse_sum(self) -> Node:
        """Read a sum. It ends before the first token that is no part of one."""
        node: Node | None = None
        while True:
            sign = self.peek()
            if sign is not None and self.take("+", "-", "pm", "mp"):
                node = _join_term(node, sign.text, self.parse_product())
            elif node is None:
                node = self.parse_product()
            else:
                return node

    def parse_product(self) -> Node:
        """Read a product. Its factors may stand side by side."""
        node = self.parse_factor()
        while True:
            if self.take("*"):
                node = Node("multiply", (node, self.parse_factor()))
            elif self.take("/"):
                node = Node("divide", (node, self.parse_factor()))
            elif self.starts_factor():
                node = Node("multiply", (node, self.parse_power()))
            else:
                return node

    def parse_factor(self) -> Node:
        """Read a factor that may have a sign."""
        sign = self.peek()
        if sign is not None and self.take("+", "-", "pm", "mp"):
            return _join_term(None, sign.text, self.parse_factor())
        return self.parse_power()

    def starts_factor(self) -> bool:
        """Say whether the next token starts a factor, so that the product needs no sign."""
        token = self.peek()
        if token is None or token.kind == "word":
            return False
        if token.kind == "number":
            if self.place and self.tokens[self.place - 1].text == "!":  # 2!3!
                return True
            raise NotReadable("two numbers stand side by side")
        if token.kind == "letters":
            return True
        if token.kind == "sign":
            if token.text == "{" and self.is_number(ahead=1):  # 1{0} is printed as 10
                raise NotReadable("a number in braces stands behind another value")
            if token.text == "(" and token.spaced and self._is_at_remark():
                raise NotReadable("what stands in brackets is a factor or a remark")
            return token.text in ("(", "{", "[") or (token.text == "|" and not self.num_bars)
        return token.text in STARTING_COMMANDS

    def _is_at_remark(self) -> bool:
        """Say whether a bracket holds a number alone, or words: `5 (five)`, `5 (see below)`."""
        inner = self.tokens[self.place + 1 : find_end(self.tokens, self.place)]
        words = [token.text for token in inner if token.kind == "letters" and len(token.text) > _MAX_PRODUCT]
        return (len(inner) == 1 and self.is_number(ahead=1)) or bool(set(words) - FUNCTIONS - PLAIN_NAMES)

    def parse_power(self) -> Node:
        """Read a factor with its exponent."""
        token = self.peek()
        if token is not None and token.kind == "letters":
            return self._parse_letters(token.text)
        return self.parse_script(self.parse_atom())

    def _parse_letters(self, run: str) -> Node:
        """Read a run of letters: a function, a constant, or a product of variables of which the last takes a power."""
        self.place += 1
        if run in FUNCTIONS:
            return self.parse_function(run)
        if run.lower() in CLOSED_CLASSES and (len(run) > _MAX_PRODUCT or run.lower() in _SHORT_WORDS):
            raise NotReadable(f"the word {run!r} stands in a formula")
        if run in PLAIN_NAMES or len(run) > _MAX_PRODUCT:
            return self.parse_script(make_symbol(run))
        if len(run) == 2 and run[0] == "d":  # a differential is one thing
            return self.parse_script(Node("symbol", value=run))
        node: Node | None = None
        for letter in run[:-1]:
            node = _multiply(node, make_symbol(letter))
        # I(0) is a value of a function, where x(x+1) is a product.
        is_function = run[-1] in _FUNCTION_LETTERS or (run[-1] not in CONSTANTS and self._is_at_value())
        last = self._parse_application(run[-1]) if is_function else make_symbol(run[-1])
        return _multiply(node, self.parse_script(last))

    def _is_at_value(self) -> bool:
        token = self.peek()
        return (
            self.is_at("(")
            and token is not None
            and not token.spaced
            and self.is_number(ahead=1)
            and self.is_at(")", ahead=2)
        )

    def _parse_application(self, letter: str) -> Node:
        while self.take("'"):
            letter += "'"
        if not self.take("("):
            return Node("symbol", value=letter)
        arguments = [self.parse_sum()]
        while self.take(","):
            arguments.append(self.parse_sum())
        self.expect(")")
        return Node("call", tuple(arguments), f"{letter}()")

    def parse_script(self, node: Node) -> Node:
        """Read what stands behind a value: an exponent, an index, a factorial, a percent sign."""
        while True:
            if self.take("_"):
                node = self._parse_index(node)
            elif self.take("^"):
                node = self._parse_exponent(node)
            elif self.take("!"):
                if self.is_at("!"):
                    raise NotReadable("a double factorial has no rule")
                node = Node("call", (node,), "factorial")
            elif self.take("'"):
                if node.kind != "symbol":
                    raise NotReadable("a prime stands behind a value")
                node = node._replace(value=f"{node.value}'")
            elif self.take("degree"):
                node = Node("degrees", (node,))
            elif self.take("%"):
                node = Node("percent", (node,))
            else:
                return node

    def _parse_index(self, node: Node) -> Node:
        if node.kind not in ("symbol", "constant"):
            raise NotReadable("an index stands behind a value")
        if self.peek() is None:
            raise NotReadable("the formula ends too early")
        index = self.take_group_as_text()
        if not index:
            raise NotReadable("an index is empty")
        return Node("symbol", value=f"{node.value}_{index}")

    def _parse_exponent(self, node: Node) -> Node:
        if self.take("circ", "degree") or self.take_braced("circ", "degree"):
            return Node("degrees", (node,))
        exponent = self.parse_argument(many_digits=True)
        if self.is_at("^"):
            raise NotReadable("a power has two exponents")
        if exponent.kind == "symbol" and exponent.value in ("T", "top", "dagger"):
            raise NotReadable("this exponent has no rule")
        return Node("power", (node, exponent))


def _multiply(left: Node | None, right: Node) -> Node:
    return right if left is None else Node("multiply", (left, right))


def _join_term(node: Node | None, sign: str, term: Node) -> Node:
    if sign in ("pm", "mp"):
        return Node("plus_minus", (term,) if node is None else (node, term), 1 if sign == "pm" else -1)
    if sign == "-":
        term = Node("negative", (term,))
    return term if node is None else Node("add", (node, term))
