//! A page of the console as it is read: by eyes in either theme, by hands on a keyboard alone, and
//! by a screen reader.
//!
//! Owns the measures: contrast, where the focus is, how things are named and ordered, what is said
//! while the page changes. Refuses to know which page it is.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::console::Console;

/// The roles that somebody acts on, or has to find: none may be without a name.
const NAMED: [&str; 17] = [
    "alertdialog",
    "button",
    "checkbox",
    "combobox",
    "dialog",
    "DisclosureTriangle",
    "heading",
    "link",
    "log",
    "navigation",
    "progressbar",
    "radio",
    "searchbox",
    "spinbutton",
    "switch",
    "table",
    "textbox",
];

/// How often the Tab key is pressed in search of something.
const TABS: usize = 80;

/// Every text that is seen, with the contrast to what it stands on: WCAG's formula, on the colours
/// as they are mixed on the screen. What is less than 4.5 to 1 is named.
const FAINT: &str = r#"(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const mixed = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) =>
    [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const above = function* (node) {
    for (let at = node; at; at = at.parentElement) yield getComputedStyle(at);
  };
  const ground = (node) => {
    const layers = [];
    for (const style of above(node)) {
      layers.push(mixed(style.backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = (colour) => {
    const part = colour.slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const faint = new Set();
  let measured = 0;
  const measure = (node, colour, name) => {
    const below = ground(node);
    const text = mixed(colour);
    for (const style of above(node)) text[3] *= Number(style.opacity);
    const [dark, bright] = [light(over(text, below)), light(below)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    measured += 1;
    if (contrast < 4.5) faint.add(`${name}: ${contrast.toFixed(2)}`);
  };
  for (const node of document.querySelectorAll("body *")) {
    if (!node.checkVisibility({ visibilityProperty: true }) || node.closest(".unseen")) continue;
    const text = [...node.childNodes].filter((it) => it.nodeType === Node.TEXT_NODE)
      .map((it) => it.textContent.trim()).join(" ").trim();
    if (text) measure(node, getComputedStyle(node).color, text);
    if (node.matches("input, select, textarea")) {
      const holds = node.value ? getComputedStyle(node) : getComputedStyle(node, "::placeholder");
      measure(node, holds.color, node.value || node.placeholder);
    }
    const before = getComputedStyle(node, "::before");
    if (/^".+"$/.test(before.content)) measure(node, before.color, before.content);
  }
  return measured > 5 ? [...faint] : ["nothing was measured"];
})()"#;

/// Where the focus is: its name, whether it shows, and whether it has left a dialog for the page.
const FOCUS: &str = r#"(() => {
  const node = document.activeElement;
  const seen = (it) => it && getComputedStyle(it).outlineStyle !== "none";
  const dialog = document.querySelector("dialog[open]");
  return {
    name: (node.getAttribute("aria-label") ?? node.labels?.[0]?.textContent ?? node.textContent).trim(),
    shows: Boolean(seen(node) || seen(node.closest("tr, .choice"))),
    lost: Boolean(dialog && node !== document.body && !dialog.contains(node)),
    inside: Boolean(dialog?.contains(node)),
  };
})()"#;

impl Console {
    /// Has the system ask for a theme, and for no motion: what is fading has no colour yet.
    pub async fn prefer(&self, theme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        let media = json!({ "features": features });
        self.page.call("Emulation.setEmulatedMedia", media).await.expect("a preference");
    }

    /// Whether the page stands on a dark ground.
    pub async fn is_dark(&self) -> bool {
        let ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
        let dark = format!("{ground}.every((part) => part < 64)");
        self.page.eval(&dark).await == Ok(Value::Bool(true))
    }

    /// The texts that are hard to read, with their contrast.
    pub async fn faint(&self) -> Vec<String> {
        let found = self.page.eval(FAINT).await.expect("a measure");
        serde_json::from_value(found).expect("a list of texts")
    }

    /// What a screen reader would find without a name, and buttons that it could not tell apart.
    pub async fn nameless(&self) -> Vec<String> {
        let nodes = self.spoken_tree().await;
        let mut buttons = BTreeSet::new();
        let alike = nodes.iter().filter(|it| text(&it["role"]) == "button");
        let alike = alike.map(|it| text(&it["name"])).filter(|name| !buttons.insert(*name));
        let alike: Vec<String> = alike.map(|name| format!("two buttons are {name:?}")).collect();
        let named = nodes.iter().filter(|it| NAMED.contains(&text(&it["role"])));
        assert!(named.clone().count() > 3, "this is no page: {nodes:#?}");
        let nameless = named.filter(|it| text(&it["name"]).trim().is_empty());
        let nameless = nameless.map(|it| format!("a {} has no name: {it}", text(&it["role"])));
        nameless.chain(alike).collect()
    }

    /// What is out of order among the headings: one of the first level, and none left out below it.
    pub async fn misplaced_headings(&self) -> Vec<String> {
        let (tree, mut wrong) = (self.spoken_tree().await, Vec::new());
        // A dialog stands below the page's heading, which nobody is told of while it is open.
        let mut before = u64::from(tree.iter().any(|it| text(&it["role"]) == "dialog"));
        for node in tree {
            if text(&node["role"]) != "heading" {
                continue;
            }
            let properties = node["properties"].as_array().expect("a heading's properties");
            let level = properties.iter().find(|it| it["name"] == "level").expect("a level");
            let level = level["value"]["value"].as_u64().expect("a number");
            if level > before + 1 || (level == 1) != (before == 0) {
                wrong.push(format!("{} is of level {level} after {before}", text(&node["name"])));
            }
            before = level;
        }
        if before == 0 {
            wrong.push("no heading".to_owned());
        }
        wrong
    }

    /// Waits until a screen reader was told something, and had the time to say it.
    pub async fn hears(&self, words: &str) {
        self.wait(&format!("said.some((it) => it.includes({}))", json!(words))).await;
    }

    /// Presses the Tab key until the focus is on what has this name. It shows on the way, all the
    /// way.
    pub async fn tab_to(&self, name: &str) {
        let mut passed = Vec::new();
        for _ in 0..TABS {
            self.press("Tab").await;
            let focus = self.focus().await;
            let here = text_in(&focus, "name").to_owned();
            assert_eq!(focus["shows"], true, "nobody sees that the focus is on {here:?}");
            if here.starts_with(name) {
                return;
            }
            passed.push(here);
        }
        panic!("the Tab key does not come to {name:?}, but to {passed:?}");
    }

    /// Goes once around with the Tab key, and checks that the focus does not leave the dialog.
    pub async fn is_kept_in_the_dialog(&self) {
        let mut inside = 0;
        for _ in 0..12 {
            self.press("Tab").await;
            let focus = self.focus().await;
            assert_eq!(focus["lost"], false, "the focus left the dialog: {focus}");
            inside += usize::from(focus["inside"] == true);
        }
        assert!(inside > 8, "the focus is nowhere");
    }

    /// Waits until the focus is on what has this name.
    pub async fn focus_is_on(&self, name: &str) {
        let mut last = Value::Null;
        for _ in 0..200 {
            last = self.focus().await;
            if text_in(&last, "name").starts_with(name) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the focus is not on {name:?}: {last}");
    }

    async fn focus(&self) -> Value {
        self.page.eval(FOCUS).await.expect("a focus")
    }

    /// The accessibility tree's nodes, in their order, without those that nobody is told of.
    async fn spoken_tree(&self) -> Vec<Value> {
        let tree = self.page.call("Accessibility.getFullAXTree", json!({})).await.expect("a tree");
        let nodes = tree["nodes"].as_array().expect("nodes").clone();
        nodes.into_iter().filter(|it| it["ignored"] == false).collect()
    }
}

fn text(value: &Value) -> &str {
    value["value"].as_str().unwrap_or_default()
}

fn text_in<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}
