// The page: answers and their filters, the slider, tables and settings.

const ANSWERS_AT_ONCE = 20;
const TOKENS_AT_FIRST = 1000;
const VERDICTS = { right: ["✓", "right"], wrong: ["✗", "wrong"], unknown: ["–", "not judged"] };
const list = document.getElementById("answer-list");
const filter = { verdict: "all", query: "" };
let matching = [];
let numShown = 0;

// Answers.

function createPrompt(answer) {
  const group = createElement("section", { class: "group" });
  const text = createElement("p", { class: "prompt", dir: "auto" });
  appendText(text, data.prompts[answer.prompt] || " ");
  const heading = createElement("h3", {}, `Prompt ${formatCount(answer.prompt_index)}`);
  group.append(heading, ...createPromptBox(text, `prompt ${answer.prompt_index}`));
  return group;
}

function createBadges(answer) {
  const [mark, word] = VERDICTS[answer.verdict];
  const verdict = createElement("span", { class: `verdict ${answer.verdict}` }, createElement("span", { "aria-hidden": "true" }, `${mark} `), word);
  const facts = [countNoun(answer.length, "token")];
  if (answer.length) facts.push(`mean ${answer.mean.toFixed(3)} nats`);
  if (answer.reward !== null && answer.reward !== 0 && answer.reward !== 1) facts.push(`reward ${formatNumber(answer.reward)}`);
  if (answer.hes !== null) facts.push(`HES ${formatNumber(answer.hes)}`);
  if (answer.truncated) facts.push("cut off by the length limit");
  answer.keptText = createElement("span", { class: "kept-count" });
  return createElement("p", { class: "badges" }, verdict, ...facts.map((fact) => createElement("span", {}, fact)), answer.keptText);
}

function updateKeptText(answer) {
  const count = keptPerAnswer[answer.number];
  answer.keptText.textContent = answer.length ? `${formatCount(count)} kept (${Math.round((100 * count) / answer.length)} %)` : "";
}

function createAnswer(answer) {
  const name = `Answer ${formatCount(answer.answer_index)} to prompt ${formatCount(answer.prompt_index)}`;
  const article = createElement("article", { class: "answer", "aria-label": name });
  const heading = createElement("h4", { tabindex: "-1" }, `Answer ${formatCount(answer.answer_index)}`);
  answer.text = createElement("div", { class: "tokens", dir: getDirection(answer), role: "group", "aria-label": `Tokens of answer ${answer.answer_index}` });
  answer.rest = createElement("p", { class: "more" });
  answer.numShown = 0;
  answer.reachable = null;
  article.append(createElement("header", {}, heading, createBadges(answer)), answer.text, answer.rest);
  if (answer.length) showTokens(answer, TOKENS_AT_FIRST);
  else answer.text.append(createElement("em", {}, "no tokens"));
  updateKeptText(answer);
  answer.heading = heading;
  return article;
}

function showAnswers(number) {
  const first = numShown;
  numShown = Math.min(matching.length, numShown + number);
  for (let i = first; i < numShown; i++) {
    const answer = matching[i];
    if (i === 0 || matching[i - 1].prompt_index !== answer.prompt_index) list.append(createPrompt(answer));
    list.lastChild.append(createAnswer(answer));
  }
  getElement("more").replaceChildren(...createAnswerButtons());
  updateStatus();
}

function createAnswerButtons() {
  const numHidden = matching.length - numShown;
  const steps = numHidden > ANSWERS_AT_ONCE ? [ANSWERS_AT_ONCE, numHidden] : [numHidden];
  return numHidden === 0 ? [] : steps.map((step) => {
    const label = step === numHidden ? `Show all ${formatCount(step)} answers left` : `Show ${step} more answers`;
    const button = createElement("button", { type: "button" }, label);
    button.addEventListener("click", () => {
      const next = matching[numShown];
      showAnswers(step);
      next.heading.focus();
    });
    return button;
  });
}

function updateStatus() {
  const isFiltered = matching.length < data.answers.length;
  const of = isFiltered ? `${formatCount(matching.length)} that match, of ${formatCount(data.answers.length)}` : formatCount(data.answers.length);
  getElement("status").textContent = matching.length ? `${formatCount(numShown)} shown of ${of}.` : "No answer matches.";
}

// Filters.

function getLowered(answer) {
  answer.lowered ??= Array.from({ length: answer.length }, (_, i) => getText(answer.start + i).toLowerCase());
  return answer.lowered;
}

function matches(answer) {
  if (filter.verdict !== "all" && answer.verdict !== filter.verdict) return false;
  if (filter.query === "") return true;
  return getLowered(answer).join("").includes(filter.query) || data.prompts[answer.prompt].toLowerCase().includes(filter.query);
}

// Marks the tokens that have a part of the text that the reader searches for.
function highlight(answer) {
  if (filter.query === "") return;
  const lowered = getLowered(answer);
  const text = lowered.join("");
  let [position, start] = [0, text.indexOf(filter.query)];
  for (let i = 0; i < answer.numShown && start >= 0; i++) {
    const end = position + lowered[i].length;
    if (end > start && position < start + filter.query.length) elements[answer.start + i].classList.add("found");
    while (start >= 0 && start + filter.query.length <= end) start = text.indexOf(filter.query, start + filter.query.length);
    position = end;
  }
}

function applyFilter() {
  matching = data.answers.filter(matches);
  numShown = 0;
  elements = new Array(numTokens);
  hideCard();
  list.replaceChildren();
  showAnswers(ANSWERS_AT_ONCE);
}

function createChoice(verdict, name) {
  const count = data.answers.filter((answer) => verdict === "all" || answer.verdict === verdict).length;
  const input = createElement("input", { type: "radio", name: "verdict", value: verdict, id: `verdict-${verdict}` });
  input.checked = verdict === filter.verdict;
  input.disabled = count === 0;
  input.addEventListener("change", () => {
    filter.verdict = verdict;
    applyFilter();
  });
  const label = createElement("label", { for: input.id }, `${name} `, createElement("span", { class: "count" }, formatCount(count)));
  return createElement("span", { class: "choice" }, input, label);
}

function buildFilters() {
  const choices = [["all", "All"], ["right", "Right"], ["wrong", "Wrong"], ["unknown", "Not judged"]];
  getElement("verdicts").append(...choices.map(([verdict, name]) => createChoice(verdict, name)));
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

// The slider. The first share need not be a whole percentage, so its number of tokens comes from Python.

const NUM_BINS = 40;
const highest = numTokens ? Math.max(entropies[order[0]], 1e-6) : 1;
// Most entropies are near zero. On a scale of square roots they do not all fall into the first bin.
const getBin = (nats) => Math.min(NUM_BINS - 1, Math.floor(Math.sqrt(Math.max(nats, 0) / highest) * NUM_BINS));

function setShare(label, number) {
  markKept(number);
  const threshold = number ? entropies[order[number - 1]] : null;
  const counts = `${formatCount(number)} of ${countNoun(numTokens, "token")}`;
  const from = threshold === null ? "" : `from ${threshold.toFixed(3)} nats up`;
  getElement("share-text").textContent = label;
  getElement("kept-text").textContent = counts;
  getElement("threshold-text").textContent = from;
  getElement("share").setAttribute("aria-valuetext", [label, `${counts} kept`, from].filter(Boolean).join(", "));
  matching.slice(0, numShown).forEach(updateKeptText);
  markHistogram(threshold);
  refreshCard();
}

function buildSlider() {
  const slider = getElement("share");
  slider.value = data.share.percent;
  slider.disabled = numTokens === 0;
  slider.addEventListener("input", () => {
    const percent = Number(slider.value);
    setShare(`${percent} %`, Math.ceil((percent * numTokens) / 100)); // exact: percent and tokens are whole numbers
  });
}

function buildHistogram() {
  const counts = new Array(NUM_BINS).fill(0);
  entropies.forEach((nats) => counts[getBin(nats)]++);
  const top = Math.log1p(Math.max(...counts));
  getElement("histogram").append(...counts.map((count) => {
    const bar = createElement("span");
    bar.style.blockSize = `${top ? (100 * Math.log1p(count)) / top : 0}%`;
    return bar;
  }));
}

function markHistogram(threshold) {
  const firstKept = threshold === null ? NUM_BINS : getBin(threshold);
  [...getElement("histogram").children].forEach((bar, bin) => {
    bar.classList.toggle("above", bin >= firstKept);
  });
}

function buildLegend() {
  const starts = ["0", ...data.bounds.map(String)];
  getElement("scale").append(...starts.map((start, level) => createElement("li", { class: `token shade-${level}` }, start)));
  getElement("trained-legend").hidden = trained.length === 0;
  getElement("marked-by").textContent = data.marked_by;
}

// Facts, settings and tables.

function buildFacts() {
  getElement("lead").textContent = data.lead;
  getElement("facts").append(...data.facts.map(([name, value]) => createElement("div", {}, ...createFact(name, value))));
  getElement("settings-list").append(...data.settings.flatMap(([name, value]) => createFact(name, value)));
  if (data.partial) {
    getElement("partial").textContent = data.partial;
    getElement("partial").hidden = false;
  }
}

function createCell(value) {
  if (value === null) return createElement("td", { class: "number" }, "–");
  if (typeof value === "number") return createElement("td", { class: "number" }, formatNumber(value));
  return createElement("td", {}, createElement("bdi", {}, quote(value)));
}

function createTable({ caption, header, rows }) {
  const isNumber = (column) => rows.length > 0 && rows.every((row) => typeof row[column] !== "string");
  const heads = header.map((name, column) => createElement("th", { scope: "col", ...(isNumber(column) ? { class: "number" } : {}) }, name));
  const table = createElement(
    "table",
    {},
    createElement("caption", {}, caption),
    createElement("thead", {}, createElement("tr", {}, ...heads)),
    createElement("tbody", {}, ...rows.map((row) => createElement("tr", {}, ...row.map(createCell)))),
  );
  return createElement("div", { class: "scroll table", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function buildParts() {
  getElement("tables").append(...data.tables.map(createTable));
  const parts = [["answers", true], ["figures", data.num_figures > 0], ["tables", data.tables.length > 0], ["settings", data.settings.length > 0]];
  for (const [id, isThere] of parts) {
    getElement(id).hidden = !isThere;
    if (isThere) getElement("parts").append(createElement("a", { href: `#${id}` }, getElement(`${id}-heading`).textContent));
  }
}

buildTheme();
buildFacts();
buildParts();
buildLegend();
buildHistogram();
buildSlider();
buildFilters();
listenForTokens(list);
setShare(data.share.label, data.share.num_kept);
applyFilter();
