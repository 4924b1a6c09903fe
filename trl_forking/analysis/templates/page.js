"use strict";

// What all pages share: the data that Python wrote, elements, counts, and the button of the theme.

const data = JSON.parse(document.getElementById("data").textContent);

function getElement(id) {
  return document.getElementById(id);
}

function createElement(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function formatCount(number) {
  return number.toLocaleString("en-US");
}

function countNoun(number, noun) {
  return `${formatCount(number)} ${noun}${number === 1 ? "" : "s"}`;
}

function buildTheme() {
  const button = getElement("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const nameOther = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameOther();
  });
  system.addEventListener("change", nameOther);
  nameOther();
}
