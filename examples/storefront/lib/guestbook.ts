// Who signed, the latest first. In memory: each pod has its own, and it ends with its pod.
const LONGEST = 40;
const MOST = 100;

let names: string[] = [];

export function entries(): readonly string[] {
  return names;
}

/** Adds a name and returns it as it was added; nothing where there is none. */
export function sign(field: unknown): string | undefined {
  if (typeof field !== "string") return undefined;
  const name = field.replace(/\s+/g, " ").trim().slice(0, LONGEST);
  if (name === "") return undefined;
  names = [name, ...names].slice(0, MOST);
  return name;
}
