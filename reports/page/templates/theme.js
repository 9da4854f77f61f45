// Before anything is drawn: a reader's own choice of light or dark, and that details open by buttons.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's choice counts */ }
