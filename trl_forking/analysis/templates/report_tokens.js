// Shows tokens so that nothing stays hidden: a character without a glyph, or one that would change the direction of the text
// around it, gets a mark.

const UNSEEN = "\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff\\ud800-\\udfff";
const SPLIT_UNSEEN = new RegExp(`([${UNSEEN}])`, "u");
const SPLIT_SPACE = new RegExp(`([\\s${UNSEEN}])`, "u");
const IS_SPACE = /^\s+$/u;
const SPACE_NAMES = { "\n": "line break", "\t": "tab", " ": "space" };

function nameCharacter(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

// The style sheet draws the marks. So a copy of an answer has the answer's own text.
function createMark(character) {
  if (character === "\n") return createElement("span", { class: "mark", "data-mark": "↵" }, "\n");
  if (character === "\t") return createElement("span", { class: "mark", "data-mark": "⇥" }, "\t");
  if (SPLIT_UNSEEN.test(character)) return createElement("span", { class: "mark code", "data-mark": nameCharacter(character) });
  return createElement("span", { class: "mark space", "data-mark": "·" }, character);
}

function appendText(parent, text) {
  if (text === "") {
    parent.append(createElement("span", { class: "mark", "data-mark": "▫" }));
    return;
  }
  text.split(IS_SPACE.test(text) ? SPLIT_SPACE : SPLIT_UNSEEN).forEach((piece, i) => {
    if (piece) parent.append(i % 2 ? createMark(piece) : piece);
  });
}

function quote(text) {
  if (text === "") return "▫";
  const visible = text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
  return visible.split(SPLIT_UNSEEN).map((piece, i) => (i % 2 ? nameCharacter(piece) : piece)).join("");
}

function speak(text) {
  if (text === "") return "part of a character";
  if (IS_SPACE.test(text)) return [...text].map((space) => SPACE_NAMES[space] ?? nameCharacter(space)).join(", ");
  return text.trim();
}

// With dir="auto" on the answer, the browser would look for its first letter again at every new token.
function getDirection(answer) {
  const texts = Array.from({ length: answer.length }, (_, i) => getText(answer.start + i));
  return createElement("p", { dir: "auto" }, texts.join("")).matches(":dir(rtl)") ? "rtl" : "ltr";
}

// The tokens on display. An answer's later tokens and the answers that are not shown yet have no element.

let elements = new Array(numTokens);
let numKept = 0;
const keptPerAnswer = new Uint32Array(data.answers.length);
const TOKENS_AT_ONCE = 2000;

function createToken(index) {
  const token = createElement("span", { class: `token shade-${getLevel(entropies[index])}` });
  token.index = index;
  if (ranks[index] < numKept) token.classList.add("kept");
  if (trained.length && trained[index]) token.classList.add("trained");
  appendText(token, getText(index));
  elements[index] = token;
  return token;
}

// A move of the slider changes only the tokens between the old and the new number.
function markKept(number) {
  const isMore = number > numKept;
  const [from, to] = isMore ? [numKept, number] : [number, numKept];
  for (let rank = from; rank < to; rank++) {
    const index = order[rank];
    keptPerAnswer[answerOf[index]] += isMore ? 1 : -1;
    elements[index]?.classList.toggle("kept", isMore);
  }
  numKept = number;
}

function showTokens(answer, number) {
  const from = answer.numShown;
  answer.numShown = Math.min(answer.length, from + number);
  const fragment = document.createDocumentFragment();
  for (let index = answer.start + from; index < answer.start + answer.numShown; index++) fragment.append(createToken(index));
  answer.text.append(fragment);
  if (from === 0 && answer.length) makeReachable(answer, elements[answer.start]);
  highlight(answer);
  answer.rest.replaceChildren(...createTokenButtons(answer));
}

function createTokenButtons(answer) {
  const numHidden = answer.length - answer.numShown;
  const steps = numHidden > TOKENS_AT_ONCE ? [TOKENS_AT_ONCE, numHidden] : [numHidden];
  return numHidden === 0 ? [] : steps.map((step) => {
    const label = step === numHidden ? `Show all ${formatCount(step)} tokens left` : `Show ${formatCount(step)} more tokens`;
    const button = createElement("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      const next = answer.start + answer.numShown;
      showTokens(answer, step);
      moveTo(next);
    });
    return button;
  });
}

// One token of each answer is in the tab order. The arrow keys change which one.

function makeReachable(answer, token) {
  answer.reachable?.removeAttribute("tabindex");
  answer.reachable?.removeAttribute("role");
  answer.reachable?.removeAttribute("aria-describedby");
  token.setAttribute("tabindex", "0");
  token.setAttribute("role", "button");
  token.setAttribute("aria-describedby", "token-description");
  answer.reachable = token;
}

function moveTo(index) {
  const answer = data.answers[answerOf[index]];
  if (!elements[index]) showTokens(answer, Math.max(TOKENS_AT_ONCE, index + 1 - answer.start - answer.numShown));
  makeReachable(answer, elements[index]);
  description.textContent = describeToken(index); // before the focus moves, because a screen reader then reads it
  elements[index].focus();
}

function findKept(index, step) {
  const answer = data.answers[answerOf[index]];
  let next = index + step;
  while (next >= answer.start && next < answer.end && ranks[next] >= numKept) next += step;
  return next;
}

function findTarget(index, key) {
  const answer = data.answers[answerOf[index]];
  const forward = answer.text.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  if (key === "Home") return answer.start;
  if (key === "End") return answer.start + answer.numShown - 1;
  if (key === "ArrowLeft" || key === "ArrowRight") return index + (key === forward ? 1 : -1);
  if (key === "ArrowUp" || key === "ArrowDown") return findKept(index, key === "ArrowDown" ? 1 : -1);
  return null;
}

function handleKey(event) {
  const token = event.target.closest(".token");
  if (!token || event.ctrlKey || event.altKey || event.metaKey) return;
  const target = findTarget(token.index, event.key);
  if (target === null) return;
  event.preventDefault();
  const answer = data.answers[answerOf[token.index]];
  if (target >= answer.start && target < answer.end) moveTo(target);
}
