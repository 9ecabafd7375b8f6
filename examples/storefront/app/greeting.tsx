"use client";

// Stands in the files that browsers are sent, too: `next build` has put the value in the place of its name.
export default function Greeting() {
  return <h1 id="greeting">{process.env.NEXT_PUBLIC_GREETING || "Welcome"}</h1>;
}
