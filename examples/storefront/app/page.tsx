import token from "@/token.txt";
import Greeting from "./greeting";

// Made once, by `next build`: all that it says is of the build, and no variable of a pod changes it.
export const dynamic = "force-static";

export default function Home() {
  return (
    <>
      <Greeting />
      <dl>
        <dt>Version</dt>
        <dd id="version">{process.env.NEXT_PUBLIC_VERSION || "development"}</dd>
        <dt>Token</dt>
        <dd id="token">{token.trim()}</dd>
      </dl>
    </>
  );
}
