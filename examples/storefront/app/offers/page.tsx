import { unstable_cache } from "next/cache";

// Rendered anew after five seconds at the earliest, while the visitor who asks is still given the old page. What was
// rendered is kept in .next/server/route-cache.
export const revalidate = 5;

// Read less often than the page is rendered, and kept in .next/cache/fetch-cache.
const readOffers = unstable_cache(
  async () => ({
    read: new Date().toISOString(),
    offers: [
      { name: "Lamp", cents: 2900 },
      { name: "Chair", cents: 8900 },
    ],
  }),
  ["offers"],
  { revalidate: 60 },
);

export default async function Offers() {
  const { read, offers } = await readOffers();
  return (
    <>
      <h1>Offers</h1>
      <ul>
        {offers.map(({ name, cents }) => (
          <li key={name}>{`${name}: ${(cents / 100).toFixed(2)}`}</li>
        ))}
      </ul>
      <dl>
        <dt>Rendered</dt>
        <dd id="rendered">{new Date().toISOString()}</dd>
        <dt>Prices of</dt>
        <dd id="read">{read}</dd>
      </dl>
    </>
  );
}
