#!/usr/bin/env node
// The entry point of the deliberately broken image: `gateway` fails at once,
// every other command is the real one.
if (process.argv[2] === "gateway") {
  console.error("this image is broken on purpose");
  process.exit(1);
}
await import("./openclaw-good.mjs");
