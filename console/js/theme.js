// The theme that was chosen here before, set before anything is painted. It and the half of a session
// that is nothing by itself are all that the console keeps in the browser's storage: no token, no
// name, no answer of the server ever is. And what is said where the console itself does not arrive: a page that stays empty says nothing.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // Storage is off: the system's theme it is.
  }
  // The browser gives up what it loads when the machine's network changes: the page loads itself again,
  // a few times. How often it has is kept with its place in the history, and nowhere else.
  const lost = ({ target }) => {
    const booting = document.getElementById("booting");
    if (target?.localName !== "script" || !booting) return;
    removeEventListener("error", lost, true);
    const tries = history.state?.tries ?? 0;
    if (tries < 3) {
      history.replaceState({ tries: tries + 1 }, "");
      setTimeout(() => location.reload(), 500 * 2 ** tries);
      return;
    }
    history.replaceState(null, "");
    booting.textContent = "The console did not arrive whole. Check the connection, and load the page again.";
  };
  addEventListener("error", lost, true);
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
