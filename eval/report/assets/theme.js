// Runs before the page is drawn, so that it never flashes in the wrong colours.
"use strict";
const theme = (() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const order = ["auto", "light", "dark"];
  let choice = "auto";
  try {
    choice = localStorage.getItem("dctcodec-theme") || "auto";
  } catch {
    // storage may be closed to files; the choice then lasts as long as the page
  }
  const apply = () => {
    root.dataset.theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    const button = document.getElementById("theme");
    if (button) {
      button.textContent = choice[0].toUpperCase() + choice.slice(1);
      button.setAttribute("aria-label", `Colour scheme: ${choice}`);
    }
  };
  const next = () => {
    choice = order[(order.indexOf(choice) + 1) % order.length];
    try {
      localStorage.setItem("dctcodec-theme", choice);
    } catch {
      // as above
    }
    apply();
  };
  system.addEventListener("change", apply);
  apply();
  return { apply, next };
})();
