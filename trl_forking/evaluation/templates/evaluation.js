// The page: answers and their filters, tables and settings. The data of this page is sets, problems and answers. All of it is
// written as text, never as markup.

const ANSWERS_AT_ONCE = 20;
const CHARACTERS_AT_FIRST = 3000;
const VERDICTS = { right: ["✓", "right"], wrong: ["✗", "wrong"], unreadable: ["–", "nothing to read"] };
const filter = { set: "all", verdict: "all", query: "" };
let matching = [];
let numShown = 0;

// Answers.

function createProblem(answer) {
  const problem = data.problems[answer.problem];
  const name = `${data.sets[problem.set]}, problem ${formatCount(problem.number)}`;
  const text = createElement("p", { class: "prompt", dir: "auto" }, problem.prompt);
  const gold = createElement("p", { class: "badges" }, createElement("span", {}, "Right answer: ", createElement("bdi", {}, problem.solution ?? "–")),
    createElement("span", {}, `${problem.right} of ${countNoun(problem.answers, "answer")} right`));
  return createElement("section", { class: "group" }, createElement("h3", {}, name), ...createPromptBox(text, name), gold);
}

function createBadges(answer) {
  const [mark, word] = VERDICTS[answer.verdict];
  const verdict = createElement("span", { class: `verdict ${answer.verdict === "unreadable" ? "unknown" : answer.verdict}` },
    createElement("span", { "aria-hidden": "true" }, `${mark} `), word);
  const read = answer.read === null ? "no final answer found" : createElement("span", {}, "read: ", createElement("bdi", {}, answer.read));
  const facts = [read, countNoun(answer.tokens, "token")];
  if (answer.vote !== null) facts.push(`vote ${formatCount(answer.vote + 1)}`);
  if (answer.truncated) facts.push("cut off by the length limit");
  return createElement("p", { class: "badges" }, verdict, ...facts.map((fact) => createElement("span", {}, fact)));
}

function createAnswer(answer) {
  const article = createElement("article", { class: "answer", "aria-label": `Answer ${answer.number}` });
  const heading = createElement("h4", { tabindex: "-1" }, `Answer ${formatCount(answer.number)}`);
  const text = createElement("div", { class: "tokens plain", dir: "auto" });
  const isLong = answer.text.length > CHARACTERS_AT_FIRST;
  showText(text, isLong ? answer.text.slice(0, CHARACTERS_AT_FIRST) : answer.text);
  article.append(createElement("header", {}, heading, createBadges(answer)), text);
  if (isLong) {
    const button = createElement("button", { type: "button" }, `Show all ${formatCount(answer.text.length)} characters`);
    button.addEventListener("click", () => {
      showText(text, answer.text);
      button.parentElement.remove();
    });
    article.append(createElement("p", { class: "more" }, button));
  }
  answer.heading = heading;
  return article;
}

function showText(element, text) {
  element.replaceChildren();
  if (text === "") element.append(createElement("em", {}, "no text"));
  if (filter.query === "") {
    element.append(text);
    return;
  }
  const lowered = text.toLowerCase();
  let [position, start] = [0, lowered.indexOf(filter.query)];
  while (start >= 0) {
    const end = start + filter.query.length;
    element.append(text.slice(position, start), createElement("mark", {}, text.slice(start, end)));
    [position, start] = [end, lowered.indexOf(filter.query, end)];
  }
  element.append(text.slice(position));
}

function showAnswers(number) {
  const first = numShown;
  numShown = Math.min(matching.length, numShown + number);
  for (let i = first; i < numShown; i++) {
    const answer = matching[i];
    if (i === 0 || matching[i - 1].problem !== answer.problem) {
      getElement("answer-list").append(createProblem(answer));
      const box = getElement("answer-list").lastChild.querySelector(".scroll");
      box.scrollTop = box.scrollHeight; // the question is at the end of a chat
    }
    getElement("answer-list").lastChild.append(createAnswer(answer));
  }
  getElement("more").replaceChildren(...createMoreButtons());
  const of = matching.length < data.answers.length
    ? `${formatCount(matching.length)} that match, of ${formatCount(data.answers.length)}` : formatCount(data.answers.length);
  getElement("status").textContent = matching.length ? `${formatCount(numShown)} shown of ${of}.` : "No answer matches.";
}

function createMoreButtons() {
  const numHidden = matching.length - numShown;
  const steps = numHidden > ANSWERS_AT_ONCE ? [ANSWERS_AT_ONCE, numHidden] : [numHidden];
  return numHidden === 0 ? [] : steps.map((step) => {
    const button = createElement("button", { type: "button" }, step === numHidden ? `Show all ${formatCount(step)} answers left` : `Show ${step} more answers`);
    button.addEventListener("click", () => {
      const next = matching[numShown];
      showAnswers(step);
      next.heading.focus();
    });
    return button;
  });
}

// Filters.

function hasVerdict(answer, verdict) {
  return verdict === "all" || answer.verdict === verdict || (verdict === "truncated" && answer.truncated);
}

function matches(answer) {
  const problem = data.problems[answer.problem];
  if (filter.set !== "all" && problem.set !== Number(filter.set)) return false;
  if (!hasVerdict(answer, filter.verdict)) return false;
  if (filter.query === "") return true;
  return [answer.text, answer.read ?? "", problem.prompt].some((text) => text.toLowerCase().includes(filter.query));
}

function applyFilter() {
  matching = data.answers.filter(matches);
  numShown = 0;
  getElement("answer-list").replaceChildren();
  showAnswers(ANSWERS_AT_ONCE);
}

function createChoice(group, value, name, count) {
  const input = createElement("input", { type: "radio", name: group, value, id: `${group}-${value}` });
  input.checked = value === filter[group];
  input.disabled = count === 0;
  input.addEventListener("change", () => {
    filter[group] = value;
    applyFilter();
  });
  const label = createElement("label", { for: input.id }, `${name} `, createElement("span", { class: "count" }, formatCount(count)));
  return createElement("span", { class: "choice" }, input, label);
}

function buildFilters() {
  const verdicts = [["all", "All"], ["right", "Right"], ["wrong", "Wrong"], ["unreadable", "Nothing to read"], ["truncated", "Cut off"]];
  const count = (verdict) => data.answers.filter((answer) => hasVerdict(answer, verdict)).length;
  getElement("verdicts").append(...verdicts.map(([verdict, name]) => createChoice("verdict", verdict, name, count(verdict))));
  const countSet = (set) => data.answers.filter((answer) => data.problems[answer.problem].set === set).length;
  getElement("sets-box").hidden = data.sets.length < 2;
  getElement("sets").append(createChoice("set", "all", "All", data.answers.length),
    ...data.sets.map((name, set) => createChoice("set", String(set), name, countSet(set))));
  let timer = null;
  getElement("query").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      filter.query = event.target.value.toLowerCase();
      applyFilter();
    }, 150);
  });
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
}

// Facts, tables and settings.

function createTable({ caption, header, rows }) {
  const table = createElement(
    "table",
    {},
    createElement("caption", {}, caption),
    createElement("thead", {}, createElement("tr", {}, ...header.map((name, i) => createElement("th", { scope: "col", ...(i ? { class: "number" } : {}) }, name)))),
    createElement("tbody", {}, ...rows.map((row) => createElement("tr", {}, ...row.map((cell, i) => createElement("td", i ? { class: "number" } : {}, createElement("bdi", {}, cell)))))),
  );
  return createElement("div", { class: "scroll table", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function createFact([name, value]) {
  return [createElement("dt", {}, name), createElement("dd", {}, value)];
}

function buildFacts() {
  getElement("lead").textContent = data.lead;
  getElement("facts").append(...data.facts.map((fact) => createElement("div", {}, ...createFact(fact))));
  getElement("tables").append(...data.tables.map(createTable), ...data.notes.map((note) => createElement("p", { class: "notice" }, note)));
  getElement("settings-list").append(...data.settings.flatMap(createFact));
  getElement("partial").textContent = data.partial;
  getElement("partial").hidden = data.partial === "";
}

buildTheme();
buildFacts();
buildFilters();
applyFilter();
