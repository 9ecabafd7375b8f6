defmodule Shop.Migrator do
  @moduledoc """
  Runs the files of `priv/repo/migrations` whose version is not in the table `schema_migrations`, each with its row in
  one transaction. A lock in the database lets one migrator run at a time; a second one waits, and then finds nothing to do.
  """

  @lock 7_061_001

  def run(repo, direction, target) do
    {:ok, connection} = repo.connect()
    must(repo.run(connection, "SELECT pg_advisory_lock(#{@lock})"), "lock")

    must(
      repo.run(connection, """
      SET client_min_messages = warning;
      CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0) NOT NULL)
      """),
      "schema_migrations"
    )

    {:ok, rows} = repo.run(connection, "SELECT version FROM schema_migrations")
    done = for [version] <- rows, do: to_integer(version)

    case pending(direction, target, done) do
      [] -> IO.puts("Migrations already #{direction}")
      list -> Enum.each(list, &step(repo, connection, direction, &1))
    end

    # The lock goes with the connection.
    :pgsql.terminate(connection)
    :ok
  end

  defp pending(:up, :all, done), do: for({version, _} = file <- files(), version not in done, do: file)

  defp pending(:down, target, done) do
    for {version, _} = file <- Enum.reverse(files()), version in done and version >= target, do: file
  end

  # [{1, ".../0001_create_products.exs"}, ...] in order.
  defp files do
    Application.app_dir(:shop, "priv/repo/migrations/*.exs")
    |> Path.wildcard()
    |> Enum.map(fn path -> {path |> Path.basename() |> Integer.parse() |> elem(0), path} end)
    |> Enum.sort()
  end

  defp step(repo, connection, direction, {version, path}) do
    [{module, _}] = Code.compile_file(path)
    IO.puts("== Running #{version} #{inspect(module)}.#{direction}/0")

    book =
      case direction do
        :up -> "INSERT INTO schema_migrations VALUES (#{version}, timezone('utc', now()))"
        :down -> "DELETE FROM schema_migrations WHERE version = #{version}"
      end

    sql = ["BEGIN"] ++ apply(module, direction, []) ++ [book, "COMMIT"]
    must(repo.run(connection, Enum.join(sql, ";\n")), "migration #{Path.basename(path)}")
    IO.puts("== Migrated #{version}")
  end

  defp must({:ok, _}, _), do: :ok
  defp must({:error, message}, what), do: raise("#{what} failed: #{message}")

  defp to_integer(value) when is_integer(value), do: value
  defp to_integer(value), do: value |> to_string() |> String.to_integer()
end
