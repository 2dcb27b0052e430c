// What the server takes, from its own description. Owns reading /swagger.json: which targets there
// are and which fields a launch has, so that the console knows neither a target nor a field that
// this server lacks. Where the description cannot be read, forms show the least that works.

import { call } from "./api.js";

let asked = null;

function document_() {
  asked ??= call("GET", "/swagger.json", { quiet: true }).catch(() => {
    asked = null;
    return null;
  });
  return asked;
}

function follow(description, schema, depth = 0) {
  if (!schema || depth > 6) return schema ?? {};
  if (schema.$ref) {
    const path = schema.$ref.replace("#/", "").split("/");
    return follow(description, path.reduce((at, part) => at?.[part], description), depth + 1);
  }
  const parts = schema.oneOf ?? schema.anyOf;
  if (parts && !schema.properties) {
    const real = parts.map((it) => follow(description, it, depth + 1)).filter((it) => it.type !== "null");
    const constants = real.filter((it) => it.const !== undefined).map((it) => it.const);
    if (constants.length > 0) return { ...schema, enum: constants };
    const listed = real.filter((it) => it.enum).flatMap((it) => it.enum);
    return listed.length > 0 && real.every((it) => it.enum) ? { ...real[0], enum: listed } : { ...schema, ...real[0] };
  }
  if (schema.allOf) {
    const all = schema.allOf.map((it) => follow(description, it, depth + 1));
    return { ...Object.assign({}, ...all), properties: Object.assign({}, ...all.map((it) => it.properties ?? {})) };
  }
  return schema;
}

/** The fields of a call's body: `{ name: { enum?, type, … } }`, or null where unknown. */
export async function fieldsOf(method, path) {
  const description = await document_();
  const body = description?.paths?.[path]?.[method]?.requestBody?.content?.["application/json"]?.schema;
  const properties = body && follow(description, body).properties;
  if (!properties) return null;
  return Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, follow(description, schema)]));
}

/** The targets that the server has. */
export async function targets() {
  const fields = await fieldsOf("post", "/v1/deployments");
  const listed = (fields?.target?.enum ?? []).filter((it) => typeof it === "string");
  return listed.length > 0 ? listed : ["docker", "process"];
}
