// The card beside a token: the token, its entropy and probability, and the alternatives.

const card = document.getElementById("card");
const description = document.getElementById("token-description");

function describeToken(index) {
  const alternatives = getAlternatives(index).map(({ text, surprisal }) => `${speak(text)} ${formatProbability(surprisal)}`);
  return [
    `${speak(getText(index))}: entropy ${entropies[index].toFixed(3)} nats`,
    `probability ${formatProbability(surprisals[index])}`,
    ranks[index] < numKept ? "kept" : "dropped",
    ...(trained.length && trained[index] ? [`kept by ${data.marked_by}`] : []),
    ...(alternatives.length ? [`most probable: ${alternatives.join(", ")}`] : []),
  ].join("; ");
}

function createFact(name, value) {
  return [createElement("dt", {}, name), createElement("dd", {}, value)];
}

function createFacts(index) {
  const answer = data.answers[answerOf[index]];
  const rank = ranks[index] + 1;
  const facts = [
    ["Entropy", `${entropies[index].toFixed(3)} nats`],
    ["Probability", formatProbability(surprisals[index])],
    ["Rank", `${formatCount(rank)} of ${formatCount(numTokens)}`],
    ["Position", `${formatCount(index - answer.start + 1)} of ${formatCount(answer.length)}`],
  ];
  if (ruleScores.length) facts.push(["Score", ruleScores[index].toPrecision(4)]);
  if (answer.trained) facts.push([data.marked_by === "the trainer" ? "Trainer" : "Rule", trained[index] ? "kept" : "dropped"]);
  return createElement("dl", {}, ...facts.flatMap(([name, value]) => createFact(name, value)));
}

function createAlternative(text, surprisal, isDrawn) {
  const bar = createElement("span", { class: "bar" }, createElement("span"));
  bar.firstChild.style.inlineSize = `${100 * Math.exp(-surprisal / 1000)}%`;
  return createElement(
    "li",
    isDrawn ? { class: "drawn" } : {},
    createElement("bdi", { class: "text" }, quote(text)),
    bar,
    createElement("span", { class: "probability" }, formatProbability(surprisal)),
  );
}

function createAlternatives(index) {
  const alternatives = getAlternatives(index);
  if (!alternatives.length) return [];
  const items = alternatives.map(({ text, surprisal }, place) => createAlternative(text, surprisal, place === drawn[index]));
  if (drawn[index] >= alternatives.length) items.push(createAlternative(getText(index), surprisals[index], true));
  return [createElement("ol", {}, ...items)];
}

function fillCard(index) {
  const isKept = ranks[index] < numKept;
  const head = createElement(
    "p",
    { class: "head" },
    createElement("bdi", { class: `text token shade-${getLevel(entropies[index])}` }, quote(getText(index))),
    createElement("span", { class: isKept ? "state is-kept" : "state" }, isKept ? "kept" : "dropped"),
  );
  const note = getText(index) === "" ? [createElement("p", { class: "note" }, "This token begins a character that a later token completes.")] : [];
  card.replaceChildren(head, ...note, createFacts(index), ...createAlternatives(index));
}

function placeCard(token) {
  const rects = token.getClientRects();
  const rect = rects[rects.length - 1];
  const { offsetWidth: width, offsetHeight: height } = card;
  const viewport = document.documentElement.clientWidth;
  const left = Math.min(Math.max(8, rect.left - 12), viewport - width - 8);
  const isBelow = rect.bottom + 10 + height < window.innerHeight || rect.top - 10 - height < 0;
  card.style.left = `${left + window.scrollX}px`;
  card.style.top = `${(isBelow ? rect.bottom + 10 : token.getClientRects()[0].top - 10 - height) + window.scrollY}px`;
}

function showCard(token) {
  fillCard(token.index);
  card.hidden = false;
  placeCard(token);
}

function hideCard() {
  card.hidden = true;
}

function getFocusedToken() {
  return document.activeElement?.closest("#answer-list .token") ?? null;
}

function refreshCard() {
  const token = getFocusedToken();
  if (token) showCard(token);
  else hideCard();
}

function listenForTokens(list) {
  const find = (event) => event.target.closest?.(".token");
  list.addEventListener("pointerover", (event) => {
    if (find(event)) showCard(find(event));
  });
  list.addEventListener("pointerout", (event) => {
    if (find(event)) refreshCard();
  });
  list.addEventListener("focusin", (event) => {
    if (!find(event)) return;
    description.textContent = describeToken(find(event).index);
    showCard(find(event));
  });
  list.addEventListener("focusout", hideCard);
  list.addEventListener("click", (event) => {
    if (find(event) && window.getSelection().isCollapsed) moveTo(find(event).index);
  });
  list.addEventListener("keydown", handleKey);
  window.addEventListener("resize", refreshCard);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideCard();
  });
}
