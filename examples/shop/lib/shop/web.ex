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

  def get(_), do: {404, "not found\n"}
end
