defmodule Shop.Web do
  @moduledoc "What the shop answers."

  def get("/health"), do: {200, "ok\n"}

  def get("/") do
    with {:ok, [[schema]]} <- Shop.Repo.query("SELECT coalesce(max(version), 0) FROM schema_migrations"),
         {:ok, products} <- Shop.Repo.query("SELECT name FROM products ORDER BY id") do
      list = for [name] <- products, do: "- #{name}\n"
      {200, "version: #{Shop.Endpoint.version()}\nschema: #{schema}\n#{list}"}
    else
      {:error, message} -> {503, "version: #{Shop.Endpoint.version()}\nerror: #{message}\n"}
    end
  end

  # Found while it runs: a path that the compiler wrote down would be one of the machine that built it.
  def get("/token"), do: {200, File.read!(Application.app_dir(:shop, "priv/token.txt"))}

  def get(_), do: {404, "not found\n"}
end
