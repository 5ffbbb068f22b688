// Before the first paint, so that nothing flashes. What was chosen stays in this browser; nothing is sent.
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  const now = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const label = button => button.setAttribute("aria-label", now() === "dark" ? "Switch to light" : "Switch to dark");

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    label(button);
    system.addEventListener("change", () => label(button));
    button.addEventListener("click", () => {
      root.dataset.theme = now() === "dark" ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
      label(button);
    });
  });
}
