import { connection } from "next/server";

export async function GET() {
  // Else `next build` would answer once and for all.
  await connection();
  return Response.json({ status: "ok", version: process.env.NEXT_PUBLIC_VERSION || "development" });
}
