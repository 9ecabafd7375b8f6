defmodule Shop.Repo.Migrations.CreateProducts do
  def up do
    [
      "CREATE TABLE products (id bigserial PRIMARY KEY, name text NOT NULL)",
      "INSERT INTO products (name) VALUES ('anchor'), ('rope'), ('lantern')"
    ]
  end

  def down, do: ["DROP TABLE products"]
end
