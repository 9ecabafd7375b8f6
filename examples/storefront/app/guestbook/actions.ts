"use server";

import { setTimeout } from "node:timers/promises";
import { revalidatePath } from "next/cache";
import { after } from "next/server";
import { sign } from "@/lib/guestbook";

export async function signGuestbook(form: FormData) {
  const name = sign(form.get("name"));
  if (name === undefined) return;
  revalidatePath("/guestbook");
  // The visitor does not wait for this. A server that is told to stop does.
  after(async () => {
    await setTimeout(1000);
    console.log(`guestbook: thanked ${JSON.stringify(name)}`);
  });
}
