import type { NextConfig } from "next";

// All pods of one build say this name, and a browser that has pages of another build loads them anew.
const build = process.env.DEPLOYMENT_ID || process.env.NEXT_PUBLIC_VERSION || "development";

const nextConfig: NextConfig = {
  output: "standalone",
  // Next takes no dots in it, and versions have some.
  deploymentId: build.replace(/[^A-Za-z0-9_-]/g, "-"),
  reactStrictMode: true,
  poweredByHeader: false,
  // There is no next/image here, and so the image can do without its library, more than half of what is copied.
  images: { unoptimized: true },
  outputFileTracingExcludes: { "*": ["**/node_modules/sharp/**/*", "**/node_modules/@img/**/*"] },
  turbopack: { rules: { "*.txt": { type: "text" } } },
};

export default nextConfig;
