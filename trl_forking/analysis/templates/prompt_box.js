// The box of a prompt. A long prompt scrolls in it. Its cut edges fade, and a button shows the whole prompt.

const promptSizes = new ResizeObserver((entries) => entries.forEach((entry) => markCutPrompt(entry.target)));

function createPromptBox(text, name) {
  const box = createElement("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Text of ${name}` }, text);
  const button = createElement("button", { type: "button" });
  box.rest = createElement("p", { class: "more", hidden: "" }, button);
  button.addEventListener("click", () => {
    box.classList.toggle("whole");
    markCutPrompt(box);
  });
  box.addEventListener("scroll", () => markCutPrompt(box), { passive: true });
  promptSizes.observe(box); // it calls once at the start, and whenever the window changes the width of the text
  return [box, box.rest];
}

function markCutPrompt(box) {
  const isWhole = box.classList.contains("whole");
  const numHidden = box.scrollHeight - box.clientHeight;
  box.classList.toggle("cut-above", numHidden > 1 && box.scrollTop > 1);
  box.classList.toggle("cut-below", numHidden > 1 && box.scrollTop < numHidden - 1);
  box.rest.hidden = !isWhole && numHidden <= 1;
  box.rest.firstChild.textContent = isWhole ? "Show less of the prompt" : "Show the whole prompt";
}
