import { connection } from "next/server";
import { entries } from "@/lib/guestbook";
import { signGuestbook } from "./actions";

export default async function Guestbook() {
  // Never from a cache.
  await connection();
  return (
    <>
      <h1>Guestbook</h1>
      <form action={signGuestbook}>
        <input name="name" aria-label="Name" autoComplete="name" required />
        <button type="submit">Sign</button>
      </form>
      <ol id="entries">
        {entries().map((name, index) => (
          <li key={index}>{name}</li>
        ))}
      </ol>
    </>
  );
}
