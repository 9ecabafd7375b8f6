import type { Metadata } from "next";
import Link from "next/link";
import "./globals.css";

export const metadata: Metadata = {
  title: "Storefront",
  description: "A Next.js application that Slipway builds and releases",
};

export default function RootLayout({ children }: LayoutProps<"/">) {
  return (
    <html lang="en">
      <body>
        <nav>
          <Link href="/">Home</Link>
          <Link href="/offers">Offers</Link>
          <Link href="/guestbook">Guestbook</Link>
        </nav>
        <main>{children}</main>
      </body>
    </html>
  );
}
