import { setTimeout } from "node:timers/promises";
import type { NextRequest } from "next/server";

const LONGEST_MS = 20_000;

// A request that is under way when a pod is told to stop: /slow?ms=3000
export async function GET(request: NextRequest) {
  const asked = Number(request.nextUrl.searchParams.get("ms") ?? 1000);
  const ms = Math.min(Math.max(asked || 0, 0), LONGEST_MS);
  await setTimeout(ms);
  return new Response(`done after ${ms} ms\n`);
}
