// The theme that was chosen here before, set before anything is painted. The only thing that the
// console keeps in the browser's storage: no token, no name, no answer of the server ever is.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // Storage is off: the system's theme it is.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
