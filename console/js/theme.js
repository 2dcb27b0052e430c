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
  addEventListener(
    "error",
    ({ target }) => {
      const booting = document.getElementById("booting");
      if (target?.localName === "script" && booting) {
        booting.textContent = "The console did not arrive whole. Check the connection, and load the page again.";
      }
    },
    true,
  );
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
