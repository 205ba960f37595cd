// Adds to the page of the API: a search, buttons that copy, and a mark of the section being read in the contents.

const search = document.getElementById("search");
const found = document.getElementById("found");
const links = [...document.querySelectorAll("nav a[href^='#']")];
const entries = links.map((link) => {
  const target = document.getElementById(link.hash.slice(1));
  return { link, target, text: `${link.textContent} ${target.textContent}`.toLowerCase() };
});

function look() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let number = 0;
  for (const { link, target, text } of entries) {
    const fits = words.every((word) => text.includes(word));
    number += fits;
    link.parentElement.hidden = !fits;
    target.hidden = !fits;
  }
  for (const group of document.querySelectorAll("nav section, main > section.group")) {
    group.hidden = !group.querySelector("li:not([hidden]), article:not([hidden])");
  }
  found.textContent = words.length ? `${number || "nothing"} found` : "";
}

function copyButton(pre) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1_500);
  });
  return button;
}

function mark(id) {
  for (const { link } of entries) {
    if (link.hash !== `#${id}`) {
      link.removeAttribute("aria-current");
      continue;
    }
    link.setAttribute("aria-current", "true");
    if (link.offsetParent) link.scrollIntoView({ block: "nearest" });
  }
}

search.hidden = false;
search.addEventListener("input", look);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "Escape" && document.activeElement === search) {
    search.value = "";
    look();
    search.blur();
  }
});
for (const pre of document.querySelectorAll("pre")) pre.parentElement.append(copyButton(pre));
for (const { link } of entries) link.addEventListener("click", () => link.blur());
const seen = new IntersectionObserver(
  (changes) => {
    const first = changes.find(({ isIntersecting }) => isIntersecting);
    if (first) mark(first.target.id);
  },
  { rootMargin: "-10% 0px -80% 0px" },
);
for (const { target } of entries) seen.observe(target);
